//! A wheel for this platform: the bindings beside the library, for any Python 3.

use std::fs;
use std::process::Command;

use super::bindings::{self, Language};
use super::build::{self, Features, at, copy, copy_all};
use super::mobile;

pub(super) fn run(features: &Features) -> Result<(), String> {
    let out = build::package("python")?;
    let mut cargo = build::library(
        &["rustc", "--crate-type", "cdylib"],
        &features.with("uniffi"),
    );
    build::run(&mut cargo)?;
    let name = build::shared_name();
    let library = build::target().join("mobile").join(&name);

    let project = out.join("project");
    copy_all(&mobile().join("python"), &project)?;
    bindings::generate(Language::Python, &out.join("bindings"))?;
    copy(
        &out.join("bindings/deputy.py"),
        &project.join("deputy/__init__.py"),
    )?;
    copy(&library, &project.join("deputy").join(&name))?;
    let pip = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"];
    build::run(Command::new("python3").args(pip).arg(&out).arg(&project))?;
    for entry in fs::read_dir(&out).map_err(|cause| at(&out, cause))? {
        let path = entry.map_err(|cause| at(&out, cause))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            build::done(&path)?;
        }
    }
    Ok(())
}
