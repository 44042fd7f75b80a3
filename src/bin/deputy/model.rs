//! Opening and loading the model that a command was given.

use std::path::{Path, PathBuf};
use std::time::Instant;

use deputy::file::ModelFile;
use deputy::{Engine, LoadOptions, Session, SessionOptions};

use crate::args::Global;
use crate::failure::Failure;
use crate::output;

/// The model that a command was given, or the one that is compiled in.
#[derive(clap::Args)]
pub(crate) struct Given {
    /// A Hugging Face folder or a .gguf file [default: the model that is compiled in]
    #[arg(value_name = "MODEL")]
    path: Option<PathBuf>,
}

impl Given {
    /// Opens it. `command` is what a person would type in front of a path.
    #[cfg_attr(
        feature = "default-model",
        expect(unused_variables, reason = "there is always a model")
    )]
    pub(crate) async fn open(&self, command: &'static str) -> Result<ModelFile, Failure> {
        let Some(path) = &self.path else {
            #[cfg(feature = "default-model")]
            return Ok(deputy::default_model().await?);
            #[cfg(not(feature = "default-model"))]
            return Err(Failure::NoModel { command });
        };
        Ok(ModelFile::open_path(path).await?)
    }

    /// Loads it, with a bar.
    pub(crate) async fn load(
        &self,
        command: &'static str,
        global: &Global,
    ) -> Result<Engine, Failure> {
        self.load_with(command, global, global.ctx).await
    }

    /// Loads it with a context of `n_ctx` positions, with a bar.
    pub(crate) async fn load_with(
        &self,
        command: &'static str,
        global: &Global,
        n_ctx: Option<u32>,
    ) -> Result<Engine, Failure> {
        load_opened(self.open(command).await?, global, n_ctx).await
    }
}

/// Loads the model at a path with a context of `n_ctx` positions, with a bar.
pub(crate) async fn load_with(
    path: &Path,
    global: &Global,
    n_ctx: Option<u32>,
) -> Result<Engine, Failure> {
    load_opened(ModelFile::open_path(path).await?, global, n_ctx).await
}

async fn load_opened(
    file: ModelFile,
    global: &Global,
    n_ctx: Option<u32>,
) -> Result<Engine, Failure> {
    log::debug!("{}: {} tensors", file.name, file.tensors.len());
    let options = LoadOptions {
        n_ctx,
        ..global.load_options()
    };
    load_file(file, options).await
}

/// Loads a model that has been opened, with a bar.
pub(crate) async fn load_file(file: ModelFile, options: LoadOptions) -> Result<Engine, Failure> {
    let bar = output::byte_bar("loading");
    let mut on_progress = |progress| output::show(&bar, progress);
    let loaded = Engine::from_file(file, options, &mut on_progress).await;
    bar.finish_and_clear();
    let engine = loaded?;
    let report = engine.load_report();
    log::debug!(
        "loaded onto {} in {:.2?}: model and tokenizer {:.2?}, device {:.2?}, read {:.2?}, \
         pack {:.2?}, upload {:.2?}; meanwhile pipelines {:.2?}",
        engine.device(),
        report.total,
        report.model,
        report.device,
        report.read,
        report.pack,
        report.upload,
        report.pipelines,
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

/// Starts a session, with its routes as they were asked for.
pub(crate) async fn session(
    engine: &Engine,
    options: SessionOptions,
    global: &Global,
) -> Result<Session, Failure> {
    let start = Instant::now();
    let options = SessionOptions {
        speculate: global.speculate,
        draft_effort: global.draft_effort,
        ..options
    };
    let mut session = engine.session(options).await?;
    if let Some(routes) = global.routes() {
        session.set_routes(&routes)?;
    }
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
