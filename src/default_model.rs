//! The model that is compiled in: a small assistant with routers, made by `training/recipe.sh`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::file::{MemoryFolder, ModelFile, SliceSource};

/// What messages call it.
pub const DEFAULT_MODEL: &str = "the default model";

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../models/default/", $name)).as_slice())),*]
    };
}

static FILES: [(&str, &[u8]); 8] = files![
    "chat_template.jinja",
    "config.json",
    "deputy.json",
    "deputy.safetensors",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json"
];

/// The default model's files, as a folder in memory.
pub fn default_model_folder() -> MemoryFolder {
    let mut folder = MemoryFolder::new(DEFAULT_MODEL, BTreeMap::new());
    for (name, bytes) in FILES {
        let source = SliceSource::new(format!("{DEFAULT_MODEL}/{name}"), bytes);
        folder.insert(name, Arc::new(source));
    }
    folder
}

/// The default model, opened: what [`Engine::from_file`](crate::Engine::from_file) takes.
///
/// # Errors
/// As any model's; the tests see to it that there are none.
pub async fn default_model() -> Result<ModelFile, Error> {
    Ok(ModelFile::open_folder(Arc::new(default_model_folder())).await?)
}
