//! `deputy quantize`: writes a model with smaller weights.

use std::path::{Path, PathBuf};

use deputy::WeightFormat;
use deputy::file::ModelFile;
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::output;

/// Writes a model again with quantised weights: a folder from a folder, GGUF from GGUF.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy quantize path/to/model path/to/model-q4 --weights q4
  deputy quantize model.gguf model-q8.gguf --weights q8")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: PathBuf,
    /// What to write; must not exist yet
    out: PathBuf,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    if !matches!(global.weights, WeightFormat::Q8 | WeightFormat::Q4) {
        return Err(Failure::Option {
            option: "--weights",
            expected: "q8 or q4".to_owned(),
            found: format!("{:?}", global.weights).to_lowercase(),
        });
    }
    let file = ModelFile::open_path(&args.model).await?;
    let bar = output::byte_bar("quantizing");
    let unfinished = Unfinished::new(&args.out);
    let written = deputy::quantize(&file, global.weights, &args.out, &mut |progress| {
        output::show(&bar, progress)
    })
    .await;
    drop(unfinished);
    bar.finish_and_clear();
    written?;
    let n_before = file
        .tensors
        .values()
        .map(|tensor| tensor.n_bytes())
        .sum::<u64>();
    let n_after = n_bytes(&args.out);
    if global.json {
        return output::print_json(
            &json!({ "out": args.out, "bytes": n_after, "bytes_before": n_before }),
        );
    }
    let (before, after) = (output::bytes(n_before), output::bytes(n_after));
    output::remark(&format!(
        "{} written: {after}, from {before}",
        args.out.display()
    ));
    Ok(())
}

/// Bytes of a file, or of all files in a folder.
fn n_bytes(path: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    match path.read_dir() {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => size(path),
    }
}
