//! `cargo xtask mobile`: what apps link, packed for each platform.

mod android;
mod bindings;
mod build;
mod c;
mod check;
mod header;
mod ios;
mod python;

use std::path::PathBuf;

use crate::root;

/// Packs the library for apps; everything goes to target/apps.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    package: Package,
}

#[derive(clap::Subcommand)]
enum Package {
    /// A Gradle module and, where there is gradle, its AAR. Needs cargo-ndk and the Android NDK
    Android(build::Features),
    /// A Swift package with an XCFramework. Needs macOS with Xcode
    Ios(build::Features),
    /// A wheel for this platform
    Python(build::Features),
    /// A tarball for this platform: shared and static library, header, pkg-config
    C(build::Features),
    /// The bindings for Kotlin, Swift and Python
    Bindings(bindings::Args),
    /// The header of the C interface
    Header(header::Args),
    /// Type-checks the library for platforms that cannot be linked here
    Check(check::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    match &args.package {
        Package::Android(features) => android::run(features),
        Package::Ios(features) => ios::run(features),
        Package::Python(features) => python::run(features),
        Package::C(features) => c::run(features),
        Package::Bindings(args) => bindings::run(args),
        Package::Header(args) => header::run(args),
        Package::Check(args) => check::run(args),
    }
}

/// The crate.
fn mobile() -> PathBuf {
    root().join("mobile")
}
