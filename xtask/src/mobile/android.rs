//! A Gradle module: bindings, libraries of each ABI, and what Gradle makes the AAR from.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::bindings::{self, Language};
use super::build::{self, Features, at, copy_all};
use super::mobile;

/// What Play accepts: 64 bits, on phones and in the emulator.
const ABIS: [&str; 2] = ["arm64-v8a", "x86_64"];
const MIN_SDK: &str = "28";
/// Android 15 has devices with pages of so many bytes, for which a library's parts must be aligned.
const PAGE: u64 = 16 << 10;

pub(super) fn run(features: &Features) -> Result<(), String> {
    if !build::is_there("cargo-ndk", "--version") {
        return Err("cargo-ndk is missing: `cargo install cargo-ndk`, and set ANDROID_NDK_HOME to an NDK of version 27 or later".into());
    }
    let project = build::package("android")?;
    copy_all(&mobile().join("android"), &project)?;
    let libraries = project.join("deputy/src/main/jniLibs");
    let mut command = vec!["ndk", "--platform", MIN_SDK, "--output-dir"];
    let folder = libraries
        .to_str()
        .ok_or("the target folder's name is not UTF-8")?;
    command.push(folder);
    for abi in ABIS {
        command.extend(["--target", abi]);
    }
    command.push("build");
    let mut cargo = build::library(&command, &features.with("uniffi"));
    cargo.env(
        "RUSTFLAGS",
        format!("-Clink-arg=-Wl,-z,max-page-size={PAGE}"),
    );
    build::run(&mut cargo)?;
    for abi in ABIS {
        check_alignment(&libraries.join(abi).join("libdeputy_mobile.so"))?;
    }
    let kotlin = project.join("deputy/src/main/kotlin");
    bindings::generate(Language::Kotlin, &kotlin)?;
    if !build::is_there("gradle", "--version") {
        println!("gradle is missing: `gradle :deputy:assembleRelease` makes the AAR in");
        return build::done(&project);
    }
    build::run(
        Command::new("gradle")
            .current_dir(&project)
            .arg(":deputy:assembleRelease"),
    )?;
    build::done(&project.join("deputy/build/outputs/aar/deputy-release.aar"))
}

/// Fails where a part of a library that is loaded is not aligned for the largest pages.
fn check_alignment(library: &Path) -> Result<(), String> {
    let bytes = fs::read(library).map_err(|cause| at(library, cause))?;
    let least = least_alignment(&bytes).ok_or_else(|| at(library, "is no 64-bit ELF file"))?;
    match least >= PAGE {
        true => Ok(()),
        false => Err(at(
            library,
            format!("expected parts aligned to {PAGE}, found {least}"),
        )),
    }
}

/// The least alignment of an ELF file's LOAD segments.
fn least_alignment(elf: &[u8]) -> Option<u64> {
    let number = |at: usize, n: usize| {
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(elf.get(at..at.checked_add(n)?)?);
        Some(u64::from_le_bytes(bytes))
    };
    // 64 bits, little-endian.
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry, n) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut least = None;
    for i in 0..n {
        let at = usize::try_from(table.checked_add(i * entry)?).ok()?;
        const LOAD: u64 = 1;
        if number(at, 4)? == LOAD {
            let alignment = number(at + 48, 8)?;
            least = Some(least.unwrap_or(alignment).min(alignment));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// What the linker was asked for is what the file says.
    #[test]
    fn alignments_are_read_as_the_linker_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("empty.c");
        std::fs::write(&source, "int deputy(void) { return 0; }").unwrap();
        for page in [4 << 10, 16 << 10, 64 << 10] {
            let library = dir.path().join("empty.so");
            let linked = Command::new("cc")
                .args(["-shared", "-o"])
                .arg(&library)
                .arg(&source)
                .arg(format!("-Wl,-z,max-page-size={page}"))
                .status()
                .unwrap();
            assert!(linked.success());
            let bytes = std::fs::read(&library).unwrap();
            assert_eq!(super::least_alignment(&bytes), Some(page));
            assert_eq!(
                super::check_alignment(&library).is_ok(),
                page >= super::PAGE
            );
            for cut in 0..bytes.len().min(200) {
                super::least_alignment(&bytes[..cut]);
            }
        }
    }
}
