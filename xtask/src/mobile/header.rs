//! The header of the C interface, made from its source.

use std::fs;
use std::path::PathBuf;

use super::build::{at, write};
use super::mobile;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail where the header is not as the source has it
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args) -> Result<(), String> {
    let path = path();
    let text = text()?;
    if !args.check {
        return write(&path, text);
    }
    let found = fs::read_to_string(&path).map_err(|cause| at(&path, cause))?;
    match found == text {
        true => Ok(()),
        false => Err(at(&path, "is not current; run `cargo xtask mobile header`")),
    }
}

pub(super) fn path() -> PathBuf {
    mobile().join("include/deputy.h")
}

fn text() -> Result<String, String> {
    let config = mobile().join("cbindgen.toml");
    let config = cbindgen::Config::from_file(config)?;
    let source = mobile().join("src");
    // The first two for the names of the handles.
    let files = ["engine.rs", "conversation.rs", "c/mod.rs", "c/structs.rs"];
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = files
        .iter()
        .fold(builder, |builder, file| builder.with_src(source.join(file)));
    let bindings = builder.generate().map_err(|cause| at(&source, cause))?;
    let mut text = vec![];
    bindings.write(&mut text);
    String::from_utf8(text).map_err(|cause| at(&source, cause))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_current() {
        super::run(&super::Args { check: true }).unwrap();
    }
}
