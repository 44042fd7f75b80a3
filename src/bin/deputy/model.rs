//! Opening and loading the model that a command was given.

use std::path::{Path, PathBuf};
use std::time::Instant;

use deputy::file::ModelFile;
use deputy::{Engine, Session, SessionOptions};

use crate::args::Global;
use crate::failure::Failure;
use crate::output;

/// The path of the model, or how to give one.
pub(crate) fn path<'a>(
    model: &'a Option<PathBuf>,
    command: &'static str,
) -> Result<&'a Path, Failure> {
    model.as_deref().ok_or(Failure::NoModel { command })
}

/// Loads a model, with a bar.
pub(crate) async fn load(path: &Path, global: &Global) -> Result<Engine, Failure> {
    load_with(path, global, global.ctx).await
}

/// Loads a model with a context of `n_ctx` positions, with a bar.
pub(crate) async fn load_with(
    path: &Path,
    global: &Global,
    n_ctx: Option<u32>,
) -> Result<Engine, Failure> {
    let start = Instant::now();
    let file = ModelFile::open_path(path).await?;
    log::debug!(
        "{}: {} tensors found in {:.2?}",
        file.name,
        file.tensors.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let mut weights_start = None;
    let bar = output::byte_bar("loading");
    let options = deputy::LoadOptions {
        n_ctx,
        ..global.load_options()
    };
    let mut on_progress = |progress| {
        weights_start.get_or_insert_with(Instant::now);
        output::show(&bar, progress);
    };
    let loaded = Engine::from_file(file, options, &mut on_progress).await;
    bar.finish_and_clear();
    let engine = loaded?;
    let weights_start = weights_start.unwrap_or(start);
    log::debug!(
        "model, tokenizer and device opened in {:.2?}",
        weights_start - start
    );
    log::debug!(
        "weights loaded in {:.2?} onto {}",
        weights_start.elapsed(),
        engine.device()
    );
    let footprint = engine.footprint();
    log::debug!(
        "{} on the device: {} weights, {} cache of {} positions, {} activations",
        output::bytes(footprint.total()),
        output::bytes(footprint.weights),
        output::bytes(footprint.cache),
        engine.n_ctx(),
        output::bytes(footprint.activations),
    );
    if let Some(reason) = engine.fallback() {
        output::say(&format!("running on the CPU: {reason}"));
    }
    Ok(engine)
}

/// Starts a session.
pub(crate) async fn session(engine: &Engine, options: SessionOptions) -> Result<Session, Failure> {
    let start = Instant::now();
    let session = engine.session(options).await?;
    log::debug!("session made in {:.2?}", start.elapsed());
    Ok(session)
}

/// A model's name without the folders that it lies in.
pub(crate) fn short_name(name: &str) -> String {
    let path = Path::new(name);
    // `.` and `..` have no name of their own.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let last = full
        .file_name()
        .map(|last| last.to_string_lossy().into_owned());
    last.unwrap_or_else(|| name.to_owned())
}
