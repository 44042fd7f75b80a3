//! A model's sidecar, and what it has to fit.

use crate::branch::{ModelShape, Settings, Sidecar};
use crate::error::Error;
use crate::file::ModelFile;
use crate::model::{Config, Model};

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

/// Reads a model's configuration, builds its graph and finds its parameters; with the branches that its
/// sidecar brings, if there is one, unless it is to stay `dense`.
///
/// # Errors
/// What is wrong with the model or its sidecar.
pub async fn open_model(
    file: &mut ModelFile,
    dense: bool,
) -> Result<(Model, Option<Settings>), Error> {
    if dense {
        return Ok((Model::open(file, None).await?, None));
    }
    let Some(sidecar) = sidecar(file, &Config::read(file)?).await? else {
        return Ok((Model::open(file, None).await?, None));
    };
    sidecar.check_finite().await?;
    sidecar.add_to(file)?;
    let model = Model::open(file, Some(&sidecar.settings.routing)).await?;
    Ok((model, Some(sidecar.settings)))
}
