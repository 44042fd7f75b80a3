//! A model's sidecar, and what it has to fit.

use crate::branch::{ModelShape, Sidecar};
use crate::error::Error;
use crate::file::ModelFile;
use crate::model::Config;

/// The numbers that a sidecar's factors must fit.
pub fn model_shape(config: &Config) -> ModelShape {
    ModelShape {
        architecture: config.architecture.name.to_owned(),
        n_layers: config.n_layers,
        dim: config.dim,
        ffn_dim: config.ffn_dim,
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        head_dim: config.head_dim,
    }
}

/// The sidecar beside a model, if there is one.
///
/// # Errors
/// What is wrong with it.
pub async fn sidecar(file: &ModelFile, config: &Config) -> Result<Option<Sidecar>, Error> {
    Ok(Sidecar::open(file, model_shape(config)).await?)
}
