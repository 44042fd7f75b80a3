//! `cargo xtask web`: the engine as WebAssembly with what JavaScript needs to call it, in `web/dist`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::root;

const TARGET: &str = "wasm32-unknown-unknown";

/// The wasm that cargo makes, and what JavaScript loads.
const NAME: &str = "deputy_web";

/// Builds the WebAssembly, shrinks it, puts the default model beside it, and prints the sizes.
///
/// It takes the wasm32 target of the toolchain where that is installed (rustup target add
/// wasm32-unknown-unknown), else Debian's compiler (apt install rustc-web rust-web-src lld-22).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave wasm-opt out: a larger file sooner
    #[arg(long)]
    fast: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let web = root().join("web");
    let dist = web.join("dist");
    let wasm = build()?;
    remove(&dist)?;
    bindgen(&wasm, &dist)?;
    if !web.join("node_modules").exists() {
        execute(Command::new("npm").arg("ci").current_dir(&web))?;
    }
    if !args.fast {
        shrink(&web, &dist.join(format!("{NAME}_bg.wasm")))?;
    }
    copy_model(&dist)?;
    execute(Command::new("node").arg(web.join("scripts/sizes.mjs")))
}

/// Has cargo make the wasm.
fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--package", "deputy-web", "--profile"])
        .args(["web", "--target", TARGET])
        .current_dir(root());
    if !has_target() {
        // Debian's compiler is a stable one; only nightly builds the standard library otherwise.
        command
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1");
        // The compiler looks for rust-lld, which Debian has in a package that is merely recommended.
        if let Some(linker) = wasm_linker() {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
    execute(&mut command)?;
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join(TARGET).join("web").join(format!("{NAME}.wasm")))
}

/// Whether the toolchain has the standard library of the target.
fn has_target() -> bool {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root())
        .output();
    let dir = printed.ok().filter(|printed| printed.status.success());
    let dir = dir.and_then(|printed| String::from_utf8(printed.stdout).ok());
    dir.is_some_and(|dir| Path::new(dir.trim()).is_dir())
}

/// LLVM's linker for wasm on the path; Debian's has its version in the name.
fn wasm_linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let files = std::env::split_paths(&path).filter_map(|dir| fs::read_dir(dir).ok());
    let mut found = files.flatten().flatten().map(|entry| entry.path());
    found.find(|file| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("wasm-ld"))
    })
}

fn bindgen(wasm: &Path, dist: &Path) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    let made = bindgen
        .input_path(wasm)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .web(true)
        .and_then(|bindgen| bindgen.generate(dist));
    made.map_err(|cause| format!("wasm-bindgen: {cause:#}"))
}

/// 8 % less for the browser to compile, with -O3 7 %; what is downloaded in brotli is 4 % more either way.
fn shrink(web: &Path, wasm: &Path) -> Result<(), String> {
    let mut command = Command::new(web.join("node_modules/.bin/wasm-opt"));
    command.arg(wasm).arg("-o").arg(wasm).arg("-Oz");
    for feature in FEATURES {
        command.arg(format!("--enable-{feature}"));
    }
    execute(&mut command)
}

/// What the compiler uses of WebAssembly; every browser with WebGPU has it.
const FEATURES: [&str; 6] = [
    "bulk-memory",
    "multivalue",
    "mutable-globals",
    "nontrapping-float-to-int",
    "reference-types",
    "sign-ext",
];

/// A file of the default model, as the package checks it.
#[derive(Serialize)]
struct Entry {
    bytes: usize,
    sha256: String,
}

/// The default model's files, and `model.json` that says what they are.
fn copy_model(dist: &Path) -> Result<(), String> {
    let (from, to) = (root().join("models/default"), dist.join("model"));
    fs::create_dir_all(&to).map_err(|cause| format!("{}: {cause}", to.display()))?;
    let named = |path: &Path, cause: std::io::Error| format!("{}: {cause}", path.display());
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&from).map_err(|cause| named(&from, cause))? {
        let path = entry.map_err(|cause| named(&from, cause))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        // The conversations that it is measured by are no part of it.
        let Some(name) = name.filter(|name| !name.ends_with(".jsonl")) else {
            continue;
        };
        let bytes = fs::read(&path).map_err(|cause| named(&path, cause))?;
        fs::write(to.join(name), &bytes).map_err(|cause| named(&to, cause))?;
        let hash = Sha256::digest(&bytes);
        let entry = Entry {
            bytes: bytes.len(),
            sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        files.insert(name.to_owned(), entry);
    }
    let json = serde_json::json!({ "files": files });
    let path = dist.join("model.json");
    fs::write(&path, format!("{json:#}\n")).map_err(|cause| named(&path, cause))
}

fn remove(dir: &Path) -> Result<(), String> {
    match fs::remove_dir_all(dir) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {cause}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a program whose output is seen as it comes.
fn execute(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}");
    let status = command
        .status()
        .map_err(|cause| format!("{line}: {cause}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{line}: {status}")),
    }
}
