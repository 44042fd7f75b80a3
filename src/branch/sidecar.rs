//! The sidecar of a model, found and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::schema::{self, Settings};
use super::{Draft, Error, ModelIdentity, ModelShape, tensors};
use crate::file::{
    self, Beside, ByteSource, ElementType, ModelFile, TensorInfo, apply_quantization, read_json,
    read_safetensors,
};
use crate::graph::PREFIX;
use crate::tensor::DType;

/// What the files are called beside a folder's model; for `NAME.gguf` they begin with `NAME.`.
pub(super) const NAME: &str = "deputy";
/// Longest `deputy.json` in bytes.
pub(super) const MAX_JSON: u64 = 1 << 20;

/// A sidecar that fits its model. Its tensors are ranges of a file, as a model's are.
pub struct Sidecar {
    /// The file that says so, for messages.
    pub name: String,
    /// What it says.
    pub settings: Settings,
    tensors: BTreeMap<String, TensorInfo>,
    source: Arc<dyn ByteSource>,
}

impl Sidecar {
    /// Looks for a model's sidecar and checks it: `deputy.json` in its folder, for `NAME.gguf` first
    /// `NAME.deputy.json`. A GGUF file may share its folder, so that a `deputy.json` of another
    /// model is none there. The model is read for its hash only where there is something.
    ///
    /// # Errors
    /// What is wrong with the sidecar, a tensor that nothing asks for included; whether all values
    /// are finite is left to whoever reads them, see [`Sidecar::check_finite`].
    pub async fn open(file: &ModelFile, model: ModelShape) -> Result<Option<Self>, Error> {
        let Some(beside) = file.beside() else {
            return Ok(None);
        };
        let own = beside.stem.as_ref().map(|stem| format!("{stem}.{NAME}"));
        if let Some(own) = own
            && let Some(source) = open_own(beside, &format!("{own}.json")).await?
        {
            let value = read_json(&*source, MAX_JSON).await?;
            let model = ModelIdentity::of(file, model).await?;
            return Self::with_tensors(beside, &own, source.name(), &value, &model)
                .await
                .map(Some);
        }
        let Some(source) = beside.folder.open(&format!("{NAME}.json")).await? else {
            return Ok(None);
        };
        let value = read_json(&*source, MAX_JSON).await?;
        let model = ModelIdentity::of(file, model).await?;
        let is_shared = beside.stem.is_some();
        if is_shared && schema::hash_of(&value).is_some_and(|hash| hash != model.hash) {
            log::debug!("{}: belongs to another model", source.name());
            return Ok(None);
        }
        Self::with_tensors(beside, NAME, source.name(), &value, &model)
            .await
            .map(Some)
    }

    async fn with_tensors(
        beside: &Beside,
        stem: &str,
        name: &str,
        value: &Value,
        model: &ModelIdentity,
    ) -> Result<Self, Error> {
        let settings = schema::parse(name, value, model)?;
        let missing = format!("{stem}.safetensors");
        let source = beside.folder.open(&missing).await?;
        let source = source.ok_or_else(|| file::Error::MissingFile {
            folder: beside.folder.name().to_owned(),
            missing,
            named_by: "deputy.json",
        })?;
        let mut tensors = read_safetensors(&*source).await?;
        apply_quantization(name, value, &mut tensors)?;
        let slots = tensors::slots(&settings.routing, &model.shape);
        tensors::check(source.name(), &tensors, &slots)?;
        Ok(Self {
            name: name.to_owned(),
            settings,
            tensors,
            source,
        })
    }

    /// Its tensors by name: `layers.3.q.B`.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Bytes of its tensors in the file.
    pub fn n_bytes(&self) -> u64 {
        self.tensors.values().map(TensorInfo::n_bytes).sum()
    }

    /// Adds its tensors to those of its model, under their names after [`PREFIX`].
    ///
    /// # Errors
    /// [`file::Error::Duplicate`] where the model has such a tensor.
    pub fn add_to(&self, file: &mut ModelFile) -> Result<(), Error> {
        let tensors = self.tensors.values().cloned();
        Ok(file.add(PREFIX, tensors, self.source.clone())?)
    }

    /// All that it says and holds, to be written again beside another form of its model.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a tensor with NaN or infinity; where reading fails.
    pub async fn draft(&self) -> Result<Draft, Error> {
        let mut drafted = vec![];
        for tensor in self.tensors.values() {
            let values = tensors::values(&*self.source, tensor).await?;
            drafted.push((tensor.name.clone(), tensor.shape.0.clone(), values));
        }
        let mut dtypes = self.tensors.values().map(|tensor| &tensor.dtype);
        let stored = dtypes.find_map(|dtype| match dtype {
            ElementType::Known(dtype) if dtype.is_quantized() => Some(*dtype),
            _ => None,
        });
        Ok(Draft {
            settings: self.settings.clone(),
            stored: stored.unwrap_or(DType::F16),
            tensors: drafted,
        })
    }

    /// Reads every tensor.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first tensor with NaN or infinity.
    pub async fn check_finite(&self) -> Result<(), Error> {
        for tensor in self.tensors.values() {
            tensors::read_finite(&*self.source, tensor, &mut |_, _| {}).await?;
        }
        Ok(())
    }
}

/// A model's own file; none where the model's name makes no plain one.
async fn open_own(beside: &Beside, name: &str) -> Result<Option<Arc<dyn ByteSource>>, Error> {
    match beside.folder.open(name).await {
        Err(file::Error::FileName { .. }) => Ok(None),
        other => Ok(other?),
    }
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sidecar")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("tensors", &self.tensors)
            .finish_non_exhaustive()
    }
}
