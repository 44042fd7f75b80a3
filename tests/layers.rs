//! The architecture's rules, read off the source.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. Modules on one line may not name each other.
const LAYERS: &[&[&str]] = &[
    &["tensor"],
    &["file", "sampler", "graph"],
    &["tokenizer", "model", "kernels", "branch"],
    &["plan"],
    &["reference", "gpu"],
    &["error"],
    &["default_model", "engine"],
    &["session", "self_test"],
    &["fit"],
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every line of code under `src`, without comments: (top module, file, line number, code).
fn lines() -> Vec<(String, PathBuf, usize, String)> {
    fn visit(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = vec![];
    visit(&src(), &mut files);
    let mut lines = vec![];
    for file in files {
        let relative = file.strip_prefix(src()).unwrap().to_owned();
        let top = relative.iter().next().unwrap().to_str().unwrap();
        let top = top.strip_suffix(".rs").unwrap_or(top).to_owned();
        for (n, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or("").to_owned();
            lines.push((top.clone(), relative.clone(), n + 1, code));
        }
    }
    assert!(lines.len() > 3000, "the source was not found");
    lines
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn violations(lines: &[(String, PathBuf, usize, String)]) -> Vec<String> {
    let mut bad = vec![];
    for (top, file, n, code) in lines {
        if ["lib", "bin"].contains(&top.as_str()) {
            continue;
        }
        for part in code.split("crate::").skip(1) {
            let to: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let downwards = matches!((layer(top), layer(&to)), (Some(from), Some(to)) if to < from);
            if to != *top && !downwards {
                bad.push(format!("{}:{n}: {top} -> {to}", file.display()));
            }
        }
    }
    bad
}

#[test]
fn modules_depend_downwards() {
    let bad = violations(&lines());
    assert!(
        bad.is_empty(),
        "upward or sideways imports:\n{}",
        bad.join("\n")
    );
}

#[test]
fn an_upward_import_would_be_caught() {
    let line = |top: &str, code: &str| (top.to_owned(), PathBuf::new(), 1, code.to_owned());
    assert_eq!(
        violations(&[line("tensor", "use crate::file::Error;")]).len(),
        1
    );
    assert_eq!(
        violations(&[line("gpu", "use crate::reference::State;")]).len(),
        1
    );
    assert_eq!(
        violations(&[line("gpu", "use crate::plan::Plan;")]).len(),
        0
    );
}

#[test]
fn every_module_has_a_layer() {
    for (top, file, ..) in lines() {
        let known = layer(&top).is_some() || ["lib", "bin"].contains(&top.as_str());
        assert!(known, "{} is in no layer", file.display());
    }
}

#[test]
fn only_gpu_names_wgpu() {
    for (top, file, n, code) in lines() {
        assert!(
            top == "gpu" || !code.contains("wgpu"),
            "{}:{n}: {code}",
            file.display()
        );
    }
}

/// Platforms differ where files are opened and where the device is waited for.
#[test]
fn targets_are_told_apart_in_few_places() {
    let allowed = ["gpu/device.rs", "engine.rs"];
    for (top, file, n, code) in lines() {
        let here = top == "file" || top == "bin" || allowed.contains(&file.to_str().unwrap());
        assert!(
            here || !code.contains("target_arch"),
            "{}:{n}: {code}",
            file.display()
        );
    }
}

#[test]
fn the_library_prints_nothing() {
    for (top, file, n, code) in lines() {
        let prints = ["println!", "eprintln!", "print!(", "eprint!("]
            .iter()
            .any(|m| code.contains(m));
        assert!(top == "bin" || !prints, "{}:{n}: {code}", file.display());
    }
}
