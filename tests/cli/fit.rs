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
    for part in ["layers.1.down", "captured", "R² attention", "effort"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json = cpu(&[&args[..], &["--plain-svd", "--dense-layers", "1", "--json"]].concat()).json();
    assert_eq!(json["linears"].as_array().map(Vec::len), Some(7));
    assert_eq!(json["efforts"].as_array().map(Vec::len), Some(11));
    assert_eq!(folder.entries(), ["calib.txt", "out"]);
    let sidecar = read_json(&folder.path("out/deputy.json"));
    assert_eq!(sidecar["dense_layers"], 1);
    assert_eq!(sidecar["calibration"]["texts"][0], "calib.txt");
    assert!(folder.path("out/deputy.safetensors").exists());
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
        got.error(1).contains("fewer than the model's 2"),
        "{}",
        got.stderr
    );
    let got = cpu(&["fit", &model, "--calib", &short, "-o", &out]);
    assert!(got.error(1).contains("at least 64"), "{}", got.stderr);
    let got = cpu(&["fit", &model, "-o", &out]);
    assert_eq!(got.code, Some(2));
    assert_eq!(folder.entries(), ["calib.txt", "short.txt"]);
    assert_eq!(fs::read_to_string(&calib).expect("is there"), text());
}
