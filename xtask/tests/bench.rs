//! `cargo xtask bench` with scripts in the place of the programs that it runs.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Prints a report whose rates are 100 and 10 times the round, and notes its arguments.
const DEPUTY: &str = r#"#!/bin/sh
echo "deputy $*" >> "$(dirname "$0")/log"
n=$(grep -c '^deputy' "$(dirname "$0")/log")
cat <<END
{"device": "Fake (vulkan)", "driver": "v1", "copy_gb_s": 50.0, "dispatches_per_token": 7,
 "peak_memory": null, "load_s": 0.5, "first_token_s": 1.5, "tests": [
 {"test": "pp8", "tps_median": ${n}00.0, "gb_s": null, "copy_fraction": null, "tflop_s": 1.25},
 {"test": "tg4", "tps_median": ${n}0.0, "gb_s": 25.0, "copy_fraction": 0.5, "tflop_s": null}]}
END
"#;

const PEER: &str = r#"#!/bin/sh
echo "peer $*" >> "$(dirname "$0")/log"
echo "something else"
echo '{"file": "x", "prefill_tps": 50.0, "decode_tps": 40.0}'
"#;

const MAKE: &str = r#"#!/bin/sh
echo "make $*" >> "$(dirname "$0")/log"
touch "$3"
"#;

const SETS: &str = r#"{"two": [
    {"shape": "tiny", "format": "Q4_0", "n_prompt": 8, "n_gen": 4, "depths": [0, 16]},
    {"shape": "tiny", "format": "q8", "model": "folder", "weights": "q8", "n_prompt": 8, "n_gen": 4}
]}"#;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("bench-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("folder")).unwrap();
        for (name, text) in [("deputy", DEPUTY), ("peer", PEER), ("make", MAKE)] {
            fs::write(path.join(name), text).unwrap();
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(path.join("sets.json"), SETS).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["bench", "--set", "two", "--commit", "c0ffee"])
            .args(["--sets", &self.path("sets.json")])
            .args(["--models", &self.path("")])
            .args(["--record", &self.path("record")])
            .args(["--deputy", &self.path("deputy")])
            .args(args)
            .output()
            .unwrap()
    }

    /// What was run, in order.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        let here = self.path("");
        text.lines().map(|line| line.replace(&here, "")).collect()
    }

    fn records(&self) -> Vec<Value> {
        let files: Vec<_> = fs::read_dir(self.path("record")).unwrap().collect();
        assert_eq!(files.len(), 1, "one adapter, one day");
        let text = fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn programs_are_run_in_turn_and_recorded() {
    let place = Place::new("turn");
    let make = format!("{} {{shape}} {{format}} {{file}}", place.path("make"));
    let peer = format!("{} {{file}} -p {{p}} -n {{g}} -r {{r}}", place.path("peer"));
    let mut args = vec!["--device", "gpu", "-r", "2", "--rounds", "3", "--discard"];
    args.extend(["--make", &make, "--peer", &peer, "--peer-name", "other"]);
    let output = place.run(&args);
    assert!(output.status.success(), "{}", stderr(&output));

    let ours = |depth, file, weights| {
        format!(
            "deputy bench {file}{weights} -p 8 -n 4 -d {depth} -r 2 --tune full --device gpu -o json"
        )
    };
    let theirs = |file| format!("peer {file} -p 8 -n 4 -r 2");
    let mut expected = vec!["make tiny Q4_0 tiny-Q4_0.gguf".to_owned()];
    for _ in 0..3 {
        expected.extend([ours(0, "tiny-Q4_0.gguf", ""), theirs("tiny-Q4_0.gguf")]);
    }
    // The peer is not told of a depth.
    expected.extend((0..3).map(|_| ours(16, "tiny-Q4_0.gguf", "")));
    for _ in 0..3 {
        expected.extend([ours(0, "folder", " --weights q8"), theirs("folder")]);
    }
    assert_eq!(place.log(), expected);
    assert!(!Path::new(&place.path("tiny-Q4_0.gguf")).exists());
    assert!(Path::new(&place.path("folder")).exists(), "was not made");

    let records = place.records();
    assert_eq!(records.len(), 3);
    let first = &records[0];
    assert_eq!(first["commit"], "c0ffee");
    assert_eq!(first["adapter"], "Fake (vulkan)");
    assert_eq!(first["driver"], "v1");
    assert_eq!(
        first["command"],
        "deputy bench tiny-Q4_0.gguf -p 8 -n 4 -d 0 -r 2 --tune full --device gpu"
    );
    assert_eq!(first["prefill_tps"], 200.0, "of 100, 200 and 300");
    assert_eq!(first["decode_tps"], 20.0);
    assert_eq!(first["decode_gb_s"], 25.0);
    assert_eq!(first["prefill_tflop_s"], 1.25);
    assert_eq!(first["first_token_s"], 1.5);
    assert_eq!(first["peer"]["name"], "other");
    assert_eq!(first["peer"]["prefill_ratio"], 4.0);
    assert_eq!(first["peer"]["decode_ratio"], 0.5);
    assert_eq!(first["rounds"][2]["prefill_tps"], 300.0);
    assert_eq!(first["rounds"][2]["peer_decode_tps"], 40.0);
    assert_eq!(records[1]["depth"], 16);
    assert!(records[1]["peer"].is_null());
    assert_eq!(records[2]["format"], "q8");

    // The table of the run is that of the records.
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| Fake (vulkan) | tiny | Q4_0 | 0 | 200 | 20.0 | 25.0 | 50.0 % | other | 50.0 | 4.00 | 40.0 | 0.50 |"), "{table}");
    let file = fs::read_dir(place.path("record")).unwrap().next();
    let again = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("table")
        .arg(file.unwrap().unwrap().path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), table);
}

#[test]
fn what_cannot_be_run_is_said() {
    let place = Place::new("refused");
    let refused = |args: &[&str], words: &[&str]| {
        let output = place.run(args);
        assert!(!output.status.success());
        let error = stderr(&output);
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    };
    refused(&[], &["tiny-Q4_0.gguf", "--make"]);
    refused(&["--only", "70b"], &["two", "70b"]);
    refused(
        &["--only", "folder", "--peer", "/bin/echo no"],
        &["no line of JSON"],
    );
    refused(
        &["--only", "folder", "--peer", "/bin/false"],
        &["/bin/false"],
    );
    refused(&["--discard"], &["--make"]);
    assert!(!Path::new(&place.path("record")).exists());
}
