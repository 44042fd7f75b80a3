//! `deputy fit`.

use std::fs;

use super::program::{Folder, cpu, fixture, read_json};

/// Enough of what the fixture's tokenizer knows.
fn text() -> String {
    "the cat sat on the mat and the dog sat on the cat. ".repeat(20)
}

#[test]
fn fit_writes_a_sidecar_and_says_how_well_it_fits() {
    let folder = Folder::new("fit");
    let calib = folder.write("calib.txt", text());
    let out = folder.name("out");
    let model = fixture("llama-gqa-tied");
    // A slash at the end names the same folder.
    let slashed = format!("{out}/");
    let args = ["fit", &model, "--calib", &calib, "-o", &slashed];
    let got = cpu(&[&args[..], &["--allocate", "--tokens", "500"]].concat());
    let table = got.ok();
    for part in [
        "layers.1.down",
        "captured",
        "R² attention",
        "effort",
        "dense",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let more = [
        "--plain-svd",
        "--dense-layers",
        "1",
        "--json",
        "--efforts",
        "0.3,1",
    ];
    let json = cpu(&[&args[..], &more].concat()).json();
    assert_eq!(json["linears"].as_array().map(Vec::len), Some(7));
    assert_eq!(json["offsets"].as_array().map(Vec::len), Some(11));
    assert_eq!(folder.entries(), ["calib.txt", "out"]);
    let sidecar = read_json(&folder.path("out/deputy.json"));
    assert_eq!(sidecar["dense_layers"], 1);
    assert_eq!(sidecar["calibration"]["texts"][0], "calib.txt");
    assert!(folder.path("out/deputy.safetensors").exists());
    // All of the effort is the model itself.
    let efforts = json["efforts"].as_array().expect("a list");
    assert_eq!((&efforts[0]["effort"], efforts.len()), (&0.3.into(), 2));
    assert_eq!(efforts[1]["ppl"], json["dense"]["ppl"]);
    assert_eq!(efforts[1]["compute"], 1.0);
    assert!(efforts[0]["compute"].as_f64() < Some(1.0));
    assert_eq!(efforts[0]["cache"], 1.0);
}

/// Where nothing is said the sidecar lies where it is found; another fit does not build on it.
#[test]
fn fit_writes_beside_the_model_and_measures_what_is_found_there() {
    let folder = Folder::new("fit-beside");
    let calib = folder.write("calib.txt", text());
    let eval = folder.write("eval.txt", text());
    let model = folder.model("llama-gqa-tied", |_| {});
    let args = ["fit", &model, "--calib", &calib, "--eval", &eval, "--json"];
    let more = ["--efforts", "0.5", "--baselines"];
    let first = cpu(&[&args[..], &more].concat()).json();
    let second = cpu(&[&args[..], &more].concat()).json();
    assert_eq!(first, second);
    let row = &first["efforts"][0];
    for baseline in ["random", "static", "plain"] {
        assert!(row[baseline]["ppl"].is_number(), "{baseline}: {row}");
    }
    let found = cpu(&["perplexity", &model, &eval, "--json"]).json();
    assert_eq!(found["ppl"], row["ppl"]);
    assert_eq!(found["routes"]["compute"], row["compute"]);
    let dense = cpu(&["perplexity", &model, &eval, "--json", "--dense"]).json();
    assert_eq!(dense["ppl"], first["dense"]["ppl"]);
}

#[test]
fn fit_refuses_what_cannot_be() {
    let folder = Folder::new("fit-refused");
    let calib = folder.write("calib.txt", text());
    let short = folder.write("short.txt", "the cat");
    let out = folder.name("out");
    let model = fixture("llama-gqa-tied");
    let args = ["fit", &model, "--calib", &calib, "-o"];
    let got = cpu(&[&args[..], &[&calib]].concat());
    assert!(got.error(2).contains("expected a folder"), "{}", got.stderr);
    let got = cpu(&[&args[..], &[&out, "--rank", "2"]].concat());
    assert!(got.error(2).contains("rank"), "{}", got.stderr);
    let got = cpu(&[&args[..], &[&out, "--lora", "nowhere"]].concat());
    assert!(got.error(1).contains("nowhere"), "{}", got.stderr);
    let got = cpu(&[&args[..], &[&out, "--dense-layers", "2"]].concat());
    assert!(
        got.error(1).contains("at most 1 of the model's 2"),
        "{}",
        got.stderr
    );
    let got = cpu(&[
        "fit", &model, "--calib", &short, "-o", &out, "--eval", &calib,
    ]);
    assert!(got.error(1).contains("at least 64"), "{}", got.stderr);
    let got = cpu(&[
        "fit", &model, "--calib", &calib, "-o", &out, "--eval", &short,
    ]);
    assert!(got.error(1).contains("to measure on"), "{}", got.stderr);
    let got = cpu(&[&args[..], &[&out, "--efforts", "0.5,2"]].concat());
    assert!(got.error(2).contains("--efforts"), "{}", got.stderr);
    let got = cpu(&["fit", &model, "-o", &out]);
    assert_eq!(got.code, Some(2));
    assert_eq!(folder.entries(), ["calib.txt", "short.txt"]);
    assert_eq!(fs::read_to_string(&calib).expect("is there"), text());
}
