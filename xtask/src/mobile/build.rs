//! Building the library, and files on their way into a package.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// What of the library an app needs.
#[derive(Clone, clap::Args)]
pub(crate) struct Features {
    /// Leave out the model that is compiled in, 8 MB
    #[arg(long)]
    no_default_model: bool,
    /// Leave out GGUF files
    #[arg(long)]
    no_gguf: bool,
}

impl Features {
    /// As cargo wants them, with one of the library's faces.
    pub(super) fn with(&self, face: &str) -> String {
        let mut features = vec![face];
        if !self.no_default_model {
            features.push("default-model");
        }
        if !self.no_gguf {
            features.push("gguf");
        }
        features.join(",")
    }
}

pub(super) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// A cargo command (`build`, or another program's in its place) of the library for size.
pub(super) fn library(command: &[&str], features: &str) -> Command {
    let mut cargo = cargo();
    cargo
        .args(command)
        .args([
            "--locked",
            "--package",
            "deputy-mobile",
            "--profile",
            "mobile",
        ])
        .args(["--no-default-features", "--features", features]);
    cargo
}

/// The folder that cargo builds in.
pub(super) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// An empty folder of a package.
pub(super) fn package(name: &str) -> Result<PathBuf, String> {
    let folder = target().join("apps").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|cause| at(&folder, cause))?;
    }
    fs::create_dir_all(&folder).map_err(|cause| at(&folder, cause))?;
    Ok(folder)
}

pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_owned();
    let program = program.display();
    let status = command.status();
    match status.map_err(|cause| format!("{program}: {cause}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{program}: {status}")),
    }
}

/// Whether a program can be started.
pub(super) fn is_there(program: &str, version: &str) -> bool {
    let output = Command::new(program).arg(version).output();
    output.is_ok_and(|output| output.status.success())
}

pub(super) fn at(path: &Path, cause: impl std::fmt::Display) -> String {
    format!("{}: {cause}", path.display())
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|cause| at(folder, cause))?;
    }
    fs::copy(from, to).map_err(|cause| at(from, cause))?;
    Ok(())
}

/// Copies a folder's files, folders within it included.
pub(super) fn copy_all(from: &Path, to: &Path) -> Result<(), String> {
    for entry in fs::read_dir(from).map_err(|cause| at(from, cause))? {
        let entry = entry.map_err(|cause| at(from, cause))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_all(&from, &to)?,
            false => copy(&from, &to)?,
        }
    }
    Ok(())
}

pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|cause| at(folder, cause))?;
    }
    fs::write(path, text).map_err(|cause| at(path, cause))
}

/// Says what was made.
pub(super) fn done(path: &Path) -> Result<(), String> {
    let n_bytes = fs::metadata(path).map_err(|cause| at(path, cause))?.len();
    match path.is_dir() {
        true => println!("{}", path.display()),
        false => println!("{} ({:.2} MB)", path.display(), n_bytes as f64 / 1e6),
    }
    Ok(())
}

/// The library's file name on this platform.
pub(super) fn shared_name() -> String {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("{prefix}deputy_mobile{suffix}")
}

/// The version of the packages.
pub(super) fn version() -> Result<String, String> {
    let path = super::mobile().join("Cargo.toml");
    let manifest = fs::read_to_string(&path).map_err(|cause| at(&path, cause))?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "));
    let version = line.ok_or_else(|| at(&path, "no version"))?;
    Ok(version.trim_matches('"').to_owned())
}

/// The platform that cargo builds for here.
pub(super) fn host() -> Result<String, String> {
    let output = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args([OsStr::new("--version"), OsStr::new("--verbose")])
        .output()
        .map_err(|cause| format!("rustc: {cause}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc: names no host")?.to_owned())
}
