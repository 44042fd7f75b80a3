//! Type checks for platforms that cannot be linked here, with the backends that they have.

use std::process::Command;

use super::build;

/// Android (Vulkan), iOS and macOS (Metal), Windows (DX12, Vulkan).
const TARGETS: [&str; 4] = [
    "aarch64-linux-android",
    "aarch64-apple-ios",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-gnu",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The targets
    #[arg(default_values_t = TARGETS.map(str::to_owned))]
    targets: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), String> {
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let installed = installed.map(|output| output.stdout).unwrap_or_default();
    let installed = String::from_utf8_lossy(&installed).into_owned();
    for target in &args.targets {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.args([
            "check",
            "--locked",
            "--package",
            "deputy-mobile",
            "--lib",
            "--target",
            target,
        ]);
        if !installed.lines().any(|line| line == target) {
            // A compiler that comes with the standard library's source can check for targets that it lacks.
            let rustc =
                std::env::var("DEPUTY_CHECK_RUSTC").unwrap_or_else(|_| "/usr/bin/rustc".into());
            cargo
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=std,panic_unwind");
        }
        build::run(&mut cargo).map_err(|error| format!("{target}: {error}"))?;
        println!("{target}: the library type-checks");
    }
    Ok(())
}
