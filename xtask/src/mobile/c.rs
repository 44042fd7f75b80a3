//! A tarball for C: both libraries, header, pkg-config, an example.

use std::fs;
use std::process::Command;

use super::build::{self, Features, at, copy, write};
use super::{header, mobile};

/// What a static library needs from the system.
const LIBS: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";
const MAC_LIBS: &str = "-framework Metal -framework QuartzCore -framework CoreGraphics \
                        -framework CoreFoundation -framework Foundation -lobjc -liconv -lSystem -lc -lm";

pub(super) fn run(features: &Features) -> Result<(), String> {
    let (version, host) = (build::version()?, build::host()?);
    let name = format!("deputy-{version}-{host}");
    let out = build::package("c")?;
    let package = out.join(&name);
    let features = features.with("c");
    let release = build::target().join("mobile");

    // Programs look for the name that is written into it; cargo leaves it out.
    let (shared, link_arg) = match host.contains("apple") {
        true => (
            "libdeputy.dylib",
            "-Clink-arg=-Wl,-install_name,@rpath/libdeputy.dylib",
        ),
        false => ("libdeputy.so", "-Clink-arg=-Wl,-soname,libdeputy.so"),
    };
    let mut cargo = build::library(&["rustc", "--crate-type", "cdylib"], &features);
    build::run(cargo.args(["--", link_arg]))?;
    copy(
        &release.join(build::shared_name()),
        &package.join("lib").join(shared),
    )?;
    let mut cargo = build::library(&["rustc", "--crate-type", "staticlib"], &features);
    build::run(&mut cargo)?;
    copy(
        &release.join("libdeputy_mobile.a"),
        &package.join("lib/libdeputy.a"),
    )?;

    copy(&header::path(), &package.join("include/deputy.h"))?;
    copy(
        &mobile().join("examples/chat.c"),
        &package.join("share/doc/deputy/chat.c"),
    )?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let to = package.join("share/doc/deputy").join(licence);
        copy(&crate::root().join(licence), &to)?;
    }
    let libs = match host.contains("apple") {
        true => MAC_LIBS,
        false => LIBS,
    };
    let pc = mobile().join("deputy.pc.in");
    let text = fs::read_to_string(&pc).map_err(|cause| at(&pc, cause))?;
    let text = text.replace("@VERSION@", &version).replace("@LIBS@", libs);
    write(&package.join("lib/pkgconfig/deputy.pc"), text)?;

    let tarball = out.join(format!("{name}.tar.gz"));
    build::run(
        Command::new("tar")
            .arg("-C")
            .arg(&out)
            .arg("-czf")
            .arg(&tarball)
            .arg(&name),
    )?;
    for file in [
        &package.join("lib").join(shared),
        &package.join("lib/libdeputy.a"),
        &tarball,
    ] {
        build::done(file)?;
    }
    Ok(())
}
