//! `deputy flatten`.

use std::fs;

use super::program::{Folder, command, cpu, fixture, run};

fn text() -> String {
    "the cat sat on the mat and the dog sat on the cat. ".repeat(20)
}

#[test]
fn flatten_writes_a_model_that_every_command_takes() {
    let folder = Folder::new("flatten");
    let calib = folder.write("calib.txt", text());
    let (model, out) = (fixture("llama-gqa-tied"), folder.name("out"));
    let got = cpu(&["flatten", &model, "--calib", &calib, "-o", &out]);
    assert!(
        got.stderr.contains("multiply-adds with 4-bit weights"),
        "{}",
        got.stderr
    );
    let table = got.ok();
    for part in ["layer 1 down", "64 columns", "gate", "bits"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let shown = run(&["inspect", &out, "--json"]).json();
    assert_eq!(
        shown["flattened"]["inputs"].as_array().map(Vec::len),
        Some(8)
    );
    let share = shown["flattened"]["int4_share"].as_f64().expect("a number");
    assert!((0.4..0.56).contains(&share), "{share}");
    assert_eq!(shown["unused"].as_array().map(Vec::len), Some(0));
    assert!(
        run(&["inspect", &out])
            .ok()
            .contains("flattened      8 inputs")
    );
    assert!(run(&["inspect", &model, "--json"]).json()["flattened"].is_null());
    let generate = [
        "generate",
        &out,
        "-p",
        "the cat sat on the mat",
        "-n",
        "8",
        "--temp",
        "0",
    ];
    let auto = cpu(&generate).ok();
    assert_eq!(auto, cpu(&generate).ok());
    for activations in ["f32", "int8"] {
        cpu(&[&generate[..], &["--activations", activations]].concat()).ok();
    }
    let ppl = cpu(&["perplexity", &out, &calib, "--window", "64", "--json"]).json();
    assert!(ppl["ppl"].as_f64() > Some(1.0));

    let again = folder.name("again");
    let got = cpu(&["flatten", &out, "--calib", &calib, "-o", &again]);
    assert!(got.error(1).contains("flattened already"), "{}", got.stderr);
    // Copies of a copy are the same model.
    cpu(&["quantize", &out, &again, "--weights", "q8"]).ok();
    let generate = [
        "generate",
        &again,
        "-p",
        "the cat sat on the mat",
        "-n",
        "8",
        "--temp",
        "0",
    ];
    assert_eq!(cpu(&generate).ok(), auto);
}

#[test]
fn what_cannot_be_flattened_is_said_and_nothing_is_left() {
    let folder = Folder::new("flatten-refused");
    let calib = folder.write("calib.txt", text());
    let empty = folder.write("empty.txt", "");
    let (model, out) = (fixture("llama-gqa-tied"), folder.name("out"));
    let flatten = |more: &[&str]| cpu(&[&["flatten", &model, "-o", &out][..], more].concat());
    for (args, code, words) in [
        (
            &["--calib", &calib, "--int4-share", "1.5"][..],
            2,
            "int4_share",
        ),
        (&["--calib", &calib, "--alpha", "2"], 2, "alpha"),
        (
            &["--calib", &calib, "--max-expansion", "0.5"],
            2,
            "max_expansion",
        ),
        (&["--calib", &empty], 1, "the calibration text has 0 tokens"),
        (&["--calib", "absent.txt"], 1, "absent.txt"),
    ] {
        let got = flatten(args);
        assert!(got.error(code).contains(words), "{words}: {}", got.stderr);
    }
    let q8 = fixture("gguf-q8_0/model.gguf");
    let got = cpu(&["flatten", &q8, "--calib", &calib, "-o", &out]);
    assert!(got.error(1).contains("--requantize"), "{}", got.stderr);
    assert_eq!(folder.entries(), ["calib.txt", "empty.txt"]);
    fs::create_dir(&out).expect("a folder");
    assert!(
        flatten(&["--calib", &calib])
            .error(2)
            .contains("does not exist yet")
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    let folder = Folder::new("flatten-interrupt");
    let calib = folder.write("calib.txt", text().repeat(50));
    let (model, out) = (fixture("llama-gqa-tied"), folder.name("out"));
    for wait in [200, 600, 1200] {
        let args = [
            "flatten", &model, "--calib", &calib, "-o", &out, "--device", "cpu",
        ];
        let mut child = command(&args).spawn().expect("the program starts");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let id = child.id().to_string();
        // It may have ended already.
        let _ = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        let status = child.wait().expect("the program ends");
        match status.code() {
            Some(0) => fs::remove_dir_all(&out).expect("it is whole"),
            _ => assert_eq!(folder.entries(), ["calib.txt"]),
        }
    }
}
