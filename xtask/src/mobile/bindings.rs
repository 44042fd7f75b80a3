//! The bindings for Kotlin, Swift and Python, which UniFFI reads off the compiled library.
//!
//! Its generator takes minutes to compile, so only an xtask with the feature `bindings` has it; another one calls that.

use std::path::{Path, PathBuf};

use super::build;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The library, not stripped; one is compiled where none is given
    #[arg(long)]
    library: Option<PathBuf>,
    /// The folder that the bindings go to
    #[arg(long)]
    out: PathBuf,
    /// The language
    #[arg(long)]
    language: Language,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Language {
    Kotlin,
    Python,
    Swift,
}

pub(super) fn run(args: &Args) -> Result<(), String> {
    match &args.library {
        Some(library) => read(args.language, library, &args.out)?,
        None => generate(args.language, &args.out)?,
    }
    build::done(&args.out)
}

/// Makes the bindings of a library that is compiled for it: they are the same for every platform, and what is packed is
/// stripped of what UniFFI reads.
pub(super) fn generate(language: Language, out: &Path) -> Result<(), String> {
    let mut cargo = build::cargo();
    build::run(cargo.args(["build", "--locked", "--package", "deputy-mobile", "--lib"]))?;
    let library = build::target().join("debug").join(build::shared_name());
    read(language, &library, out)
}

#[cfg(not(feature = "bindings"))]
fn read(language: Language, library: &Path, out: &Path) -> Result<(), String> {
    let language = clap::ValueEnum::to_possible_value(&language).ok_or("a hidden language")?;
    let run = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "xtask",
        "--features",
        "bindings",
    ];
    let mut cargo = build::cargo();
    cargo.args(run).args([
        "--",
        "mobile",
        "bindings",
        "--language",
        language.get_name(),
    ]);
    build::run(cargo.arg("--library").arg(library).arg("--out").arg(out))
}

#[cfg(feature = "bindings")]
fn read(language: Language, library: &Path, out: &Path) -> Result<(), String> {
    use camino::Utf8PathBuf;
    use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
    use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

    /// Where UniFFI finds its configuration.
    struct Mobile;

    impl BindgenPathsLayer for Mobile {
        fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
            let root = Utf8PathBuf::from_path_buf(super::mobile()).ok()?;
            (crate_name == "deputy_mobile").then_some(root)
        }
    }

    let utf8 = |path: &Path| {
        let path = Utf8PathBuf::from_path_buf(path.to_owned());
        path.map_err(|path| format!("{}: not UTF-8", path.display()))
    };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Mobile);
    let options = GenerateOptions {
        languages: vec![match language {
            Language::Kotlin => TargetLanguage::Kotlin,
            Language::Python => TargetLanguage::Python,
            Language::Swift => TargetLanguage::Swift,
        }],
        source: utf8(library)?,
        out_dir: utf8(out)?,
        ..GenerateOptions::default()
    };
    let generated = generate_with_bindgen_paths(options, paths);
    generated.map_err(|cause| build::at(library, format!("{cause:#}")))
}
