//! From named tensors to a graph: configuration, parameters and the forward pass of each architecture.
//!
//! One file an architecture says what is computed, in [`crate::graph::Op`]s, and by the way which
//! parameters it needs. [`Model::open`] reads the configuration, builds the graph and finds every
//! parameter in the file; nothing is loaded.

mod blocks;
mod config;
mod flat;
mod llama;
mod mistral;
mod names;
mod qwen2;
mod qwen3;
mod rope;
mod weights;

pub use config::{Config, Layout, RopeScaling};
pub use flat::{FLAT_PREFIX, FlatInput};
pub use weights::WeightSource;

use crate::file::{self, ModelFile};
use crate::graph::{self, Graph, Routing};
use blocks::Build;

/// A kind of model: its names, and its forward pass.
#[derive(Clone, Copy)]
pub struct Architecture {
    /// Our name for it.
    pub name: &'static str,
    /// Classes that `config.json` names under `architectures`.
    pub hugging_face: &'static str,
    /// `general.architecture` of GGUF files; several may share one.
    pub gguf: &'static str,
    forward: fn(&mut Build<'_>) -> Result<(), graph::Error>,
}

/// Every supported architecture.
pub const ARCHITECTURES: &[Architecture] = &[
    llama::ARCHITECTURE,
    mistral::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
];

/// A model whose parameters have been found and checked, and not yet read.
#[derive(Debug)]
pub struct Model {
    /// What the configuration says.
    pub config: Config,
    /// What is computed.
    pub graph: Graph,
    /// Where each parameter of the graph lies in the file, by [`crate::graph::WeightId`].
    pub weights: Vec<WeightSource>,
    /// Tensors of the file that the graph does not use.
    pub unused: Vec<String>,
}

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the file failed.
    #[error(transparent)]
    File(#[from] file::Error),
    /// The forward pass does not fit together.
    #[error("{file}: {cause}")]
    Graph {
        /// The model.
        file: String,
        /// The rule that is broken.
        cause: graph::Error,
    },
    /// Something that this engine does not do.
    #[error("{file}: {key} {found:?} is not supported; supported: {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What could stand there.
        supported: String,
    },
    /// A value that no model can have.
    #[error("{file}: {key}: expected {expected}, found {found}")]
    Invalid {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A key that is needed is absent.
    #[error("{file}: {key} is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// Parameters that are needed are absent.
    #[error("{file}: {n} of the tensors that {architecture} needs are missing: {list}")]
    MissingTensors {
        /// The model.
        file: String,
        /// The architecture.
        architecture: &'static str,
        /// How many.
        n: usize,
        /// The first few names.
        list: String,
    },
    /// A parameter of another shape than the configuration asks for.
    #[error("{file}: tensor {tensor:?}: expected shape {expected}, found {found}")]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// From the configuration.
        expected: String,
        /// In the file.
        found: String,
    },
    /// A parameter with NaN or infinity.
    #[error("{file}: tensor {tensor:?} holds NaN or infinity in row {row}")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The row.
        row: usize,
    },
}

impl Model {
    /// Reads the configuration, builds the graph and finds its parameters. Those of `routing` are named
    /// as in a sidecar, behind `deputy.`.
    ///
    /// # Errors
    /// An unsupported or impossible configuration, missing or misshapen tensors.
    pub async fn open(file: &ModelFile, routing: Option<&Routing>) -> Result<Self, Error> {
        let mut config = Config::read(file)?;
        config.rope_factors = rope::stored_factors(file, &config).await?;
        let flats = flat::read(file, &config).await?;
        let mut build = Build::new(&config, file, routing, &flats.inputs);
        (config.architecture.forward)(&mut build).map_err(|cause| Error::Graph {
            file: file.name.clone(),
            cause,
        })?;
        let graph = build.finish();
        let (weights, unused) = weights::find(file, &config, &graph, &flats.names)?;
        flat::check(file, &graph, &weights)?;
        Ok(Self {
            config,
            graph,
            weights,
            unused,
        })
    }
}

impl std::fmt::Debug for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
