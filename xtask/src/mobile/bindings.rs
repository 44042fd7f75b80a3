//! The bindings for Kotlin, Swift and Python, which UniFFI reads off the compiled library.

use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;
use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

use super::build::done;
use super::mobile;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The compiled library
    #[arg(long)]
    library: PathBuf,
    /// Where the bindings go, one folder for each language
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), String> {
    for (name, language) in [
        ("kotlin", TargetLanguage::Kotlin),
        ("swift", TargetLanguage::Swift),
        ("python", TargetLanguage::Python),
    ] {
        generate(language, &args.library, &args.out.join(name))?;
    }
    done(&args.out)
}

/// Where UniFFI finds its configuration.
struct Mobile;

impl BindgenPathsLayer for Mobile {
    fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
        let root = Utf8PathBuf::from_path_buf(mobile()).ok()?;
        (crate_name == "deputy_mobile").then_some(root)
    }
}

pub(super) fn generate(language: TargetLanguage, library: &Path, out: &Path) -> Result<(), String> {
    let utf8 = |path: &Path| {
        Utf8PathBuf::from_path_buf(path.to_owned())
            .map_err(|p| format!("{}: not UTF-8", p.display()))
    };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Mobile);
    let options = GenerateOptions {
        languages: vec![language],
        source: utf8(library)?,
        out_dir: utf8(out)?,
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, paths)
        .map_err(|cause| format!("{}: {cause:#}", library.display()))
}
