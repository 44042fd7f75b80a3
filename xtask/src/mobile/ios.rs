//! A Swift package around an XCFramework for phones, the simulator and macOS.

use std::fs;
use std::process::Command;

use super::bindings::{self, Language};
use super::build::{self, Features, at, copy, copy_all};
use super::mobile;

/// One library each; the simulator's two are joined.
const DEVICE: &str = "aarch64-apple-ios";
const SIMULATOR: [&str; 2] = ["aarch64-apple-ios-sim", "x86_64-apple-ios"];
const MAC: &str = "aarch64-apple-darwin";

pub(super) fn run(features: &Features) -> Result<(), String> {
    if !build::is_there("xcodebuild", "-version") {
        return Err("xcodebuild is missing: this needs macOS with Xcode; \
                    `cargo xtask mobile check aarch64-apple-ios` type-checks anywhere"
            .into());
    }
    let package = build::package("ios")?;
    copy_all(&mobile().join("swift"), &package)?;
    let features = features.with("uniffi");
    let built = |target: &str| {
        build::target()
            .join(target)
            .join("mobile/libdeputy_mobile.a")
    };
    for target in [DEVICE, MAC].iter().chain(&SIMULATOR) {
        let command = ["rustc", "--crate-type", "staticlib", "--target", target];
        let mut cargo = build::library(&command, &features);
        cargo.env("IPHONEOS_DEPLOYMENT_TARGET", "16.0");
        build::run(cargo.env("MACOSX_DEPLOYMENT_TARGET", "13.0"))?;
    }
    let simulator = package.join("simulator/libdeputy_mobile.a");
    copy(&built(SIMULATOR[0]), &simulator)?;
    let both = SIMULATOR.map(built);
    build::run(
        Command::new("lipo")
            .arg("-create")
            .args(&both)
            .arg("-output")
            .arg(&simulator),
    )?;

    let made = package.join("bindings");
    bindings::generate(Language::Swift, &made)?;
    copy(
        &made.join("Deputy.swift"),
        &package.join("Sources/Deputy/Deputy.swift"),
    )?;
    let headers = package.join("headers");
    copy(&made.join("deputyFFI.h"), &headers.join("deputyFFI.h"))?;
    copy(
        &made.join("deputyFFI.modulemap"),
        &headers.join("module.modulemap"),
    )?;

    let mut xcodebuild = Command::new("xcodebuild");
    xcodebuild.arg("-create-xcframework");
    for library in [built(DEVICE), simulator.clone(), built(MAC)] {
        xcodebuild
            .arg("-library")
            .arg(library)
            .arg("-headers")
            .arg(&headers);
    }
    let framework = package.join("deputyFFI.xcframework");
    build::run(xcodebuild.arg("-output").arg(&framework))?;
    for folder in ["bindings", "headers", "simulator"] {
        let folder = package.join(folder);
        fs::remove_dir_all(&folder).map_err(|cause| at(&folder, cause))?;
    }
    build::done(&package)
}
