//! Why a command ended early, and with which exit code.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use deputy::{branch, gpu};

use crate::output;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Engine(#[from] deputy::Error),
    #[cfg(feature = "fit")]
    #[error(transparent)]
    Fit(#[from] deputy::fit::Error),
    #[cfg(not(feature = "default-model"))]
    #[error(
        "no MODEL was given; pass a Hugging Face folder or a .gguf file, for example: deputy {command} path/to/model"
    )]
    NoModel { command: &'static str },
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        option: &'static str,
        expected: String,
        found: String,
    },
    #[error("{what}")]
    NoPrompt { what: &'static str },
    #[error("{file}: {cause}")]
    Io { file: String, cause: io::Error },
    #[error("{file}: {cause}")]
    Json {
        file: String,
        cause: serde_json::Error,
    },
    #[error("{file}: expected {expected}, found {found}")]
    Content {
        file: String,
        expected: String,
        found: String,
    },
    #[error(
        "{model}: expected a model with routers, found {}", no_routers(*.dense, .model)
    )]
    NoRouters { model: String, dense: bool },
    #[error("the terminal: {0}")]
    Terminal(#[from] rustyline::error::ReadlineError),
    #[error("Ctrl-C cannot be watched: {0}")]
    Signal(#[from] ctrlc::Error),
    #[error("standard output: {0}")]
    Stdout(io::Error),
    #[error(
        "{n} of {of} kernel checks failed on {device}; use --device cpu, and please report this adapter and driver"
    )]
    SelfTest { n: usize, of: usize, device: String },
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(crate) fn io(path: &Path, cause: io::Error) -> Self {
        Self::Io {
            file: path.display().to_string(),
            cause,
        }
    }

    /// Says what happened on standard error, in one line.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            // Whoever read the answer has seen enough.
            Self::Stdout(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Interrupted => {}
            other => output::say(&format!("error: {}", one_line(&other.to_string()))),
        }
        ExitCode::from(self.exit_code())
    }

    /// 2 where the command line alone, on this machine, is wrong; 1 for all that the files decide.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 130,
            #[cfg(not(feature = "default-model"))]
            Self::NoModel { .. } => 2,
            Self::Option { .. } | Self::NoPrompt { .. } => 2,
            Self::Engine(
                deputy::Error::Sampler(_)
                | deputy::Error::Branch(branch::Error::Effort { .. })
                | deputy::Error::Gpu(gpu::Error::UnknownAdapter { .. }),
            ) => 2,
            #[cfg(feature = "fit")]
            Self::Fit(deputy::fit::Error::Rank { .. } | deputy::fit::Error::Option { .. }) => 2,
            _ => 1,
        }
    }
}

macro_rules! through_engine {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}

through_engine!(
    deputy::branch::Error,
    deputy::file::Error,
    deputy::gpu::Error,
    deputy::model::Error,
    deputy::sampler::Error,
    deputy::tokenizer::Error
);

fn no_routers(dense: bool, model: &str) -> String {
    match dense {
        true => "--dense, which leaves them out".to_owned(),
        false => format!("none; make them with: deputy fit {model} --calib TEXT -o OUT"),
    }
}

/// A message on one line, whatever a file's or driver's own words hold.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace();
    let clean = |word: &str| -> String { word.chars().filter(|c| !c.is_control()).collect() };
    words.map(clean).collect::<Vec<_>>().join(" ")
}
