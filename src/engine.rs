//! A loaded model on a device.

mod device;
mod load;
mod quantize;
mod text;

pub use device::DeviceChoice;
pub use load::{Progress, WeightFormat};
pub use quantize::quantize;
pub use text::{template, tokenizer};

pub(crate) use device::{Loaded, State, open};

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::file::ModelFile;
use crate::kernels::CacheType;
use crate::model::{Config, Model};
use crate::plan::{Footprint, MAX_BINDING, Settings, Size, WeightLayout, lower};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which device to run on.
    pub device: DeviceChoice,
    /// Format of the weights on the device.
    pub weights: WeightFormat,
    /// Positions of a session's context; [`DEFAULT_CTX`] or the model's own, if fewer.
    pub n_ctx: Option<u32>,
    /// Element type of the key/value cache; f16 where `None`.
    pub cache: Option<CacheType>,
    /// Refuse to load if more bytes would be needed.
    pub memory: Option<u64>,
    /// A kernel that runs as its CPU twin instead, to find out which one is wrong on a device.
    pub cpu_kernel: Option<String>,
}

/// Positions of a session's context unless more are asked for.
pub const DEFAULT_CTX: u32 = 4096;

/// Rows of the largest step; longer prompts go through in pieces of so many.
pub const MAX_ROWS: u32 = 256;

/// A model on a device. Cheap to clone; sessions share its weights.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    file: ModelFile,
    model: Model,
    layouts: Vec<WeightLayout>,
    options: LoadOptions,
    tokenizer: Option<Tokenizer>,
    template: Option<ChatTemplate>,
    loaded: Mutex<Arc<Loaded>>,
}

impl Engine {
    /// Loads a model from a folder, a GGUF file, or a file of a folder.
    ///
    /// # Errors
    /// What is wrong with the files, the model or the device.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn load(
        path: impl AsRef<std::path::Path>,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let file = ModelFile::open_path(path.as_ref()).await?;
        Self::from_file(file, options, progress).await
    }

    /// Loads a model that has been opened.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub async fn from_file(
        file: ModelFile,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let model = Model::open(&file).await?;
        let tokenizer = text::tokenizer(&file, model.config.vocab_size)?;
        let template = text::template(&file)?;
        let layouts = options.weights.layouts(&model);
        check_memory(&file, &model, &layouts, &options)?;
        let loaded = Loaded::new(&file, &model, &layouts, &options, progress).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                model,
                layouts,
                options,
                tokenizer,
                template,
                loaded: Mutex::new(Arc::new(loaded)),
            }),
        })
    }

    /// Where the model came from.
    pub fn name(&self) -> &str {
        &self.shared.file.name
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.shared.model.config
    }

    /// The model: its graph, where its parameters lie, tensors that it leaves unused.
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// How each parameter lies on the device.
    pub fn layouts(&self) -> &[WeightLayout] {
        &self.shared.layouts
    }

    /// The tokenizer, if the model came with one.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`]
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        self.shared
            .tokenizer
            .as_ref()
            .ok_or_else(|| Error::NoTokenizer {
                model: self.name().to_owned(),
            })
    }

    /// The chat template, if the model came with one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.shared.template.as_ref()
    }

    /// Name of the device that the model runs on.
    pub fn device(&self) -> String {
        self.loaded().name()
    }

    /// Why the model runs on the CPU though a GPU was welcome.
    pub fn fallback(&self) -> Option<String> {
        self.loaded().fallback.clone()
    }

    /// Positions of a session's context.
    pub fn n_ctx(&self) -> u32 {
        n_ctx(&self.shared.model.config, &self.shared.options)
    }

    /// Tokens that end an answer.
    pub fn eos(&self) -> Vec<u32> {
        let mut eos = self.config().eos.clone();
        if let Some(tokenizer) = &self.shared.tokenizer {
            eos.extend_from_slice(tokenizer.eos_ids());
        }
        eos.sort_unstable();
        eos.dedup();
        eos
    }

    /// Bytes on the device, with one session.
    pub fn footprint(&self) -> Footprint {
        footprint(
            &self.shared.model,
            &self.shared.layouts,
            &self.shared.options,
        )
    }

    /// Destroys the GPU device, as a crashed driver would; sessions recover on their next call.
    pub fn destroy_device(&self) {
        self.loaded().destroy();
    }

    /// Bytes a second that a copy on the device reads and writes together, measured now.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn copy_bandwidth(&self) -> Result<f64, Error> {
        self.loaded().copy_bandwidth().await
    }

    pub(crate) fn options(&self) -> &LoadOptions {
        &self.shared.options
    }

    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        self.shared
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Opens the device and loads the weights again, unless another session has done so since `lost`.
    pub(crate) async fn reload(&self, lost: &Arc<Loaded>) -> Result<Arc<Loaded>, Error> {
        let current = self.loaded();
        if !Arc::ptr_eq(&current, lost) {
            return Ok(current);
        }
        let Shared {
            file,
            model,
            layouts,
            options,
            ..
        } = &*self.shared;
        let loaded = Arc::new(Loaded::new(file, model, layouts, options, &mut |_| {}).await?);
        *self
            .shared
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = loaded.clone();
        Ok(loaded)
    }

    pub(crate) fn settings(&self, n_sequences: u32) -> Settings {
        Settings {
            n_ctx: self.n_ctx(),
            n_sequences,
            cache: cache(&self.shared.options),
        }
    }
}

/// Bytes that a model would need on a device with these options and one session. Loads nothing.
pub fn footprint(model: &Model, layouts: &[WeightLayout], options: &LoadOptions) -> Footprint {
    let settings = Settings {
        n_ctx: n_ctx(&model.config, options),
        n_sequences: 1,
        cache: cache(options),
    };
    let size = Size {
        rows: MAX_ROWS,
        n_out: 1,
        sample: true,
    };
    let slots = lower(&model.graph, layouts, &settings, size).slots;
    Footprint::new(&model.graph, layouts, &slots, &settings, size)
}

fn n_ctx(config: &Config, options: &LoadOptions) -> u32 {
    options.n_ctx.unwrap_or(config.n_ctx.min(DEFAULT_CTX))
}

fn cache(options: &LoadOptions) -> CacheType {
    options.cache.unwrap_or(CacheType::F16)
}

fn check_memory(
    file: &ModelFile,
    model: &Model,
    layouts: &[WeightLayout],
    options: &LoadOptions,
) -> Result<(), Error> {
    let n_ctx = n_ctx(&model.config, options);
    if n_ctx == 0 || n_ctx > model.config.n_ctx {
        return Err(Error::Context {
            found: n_ctx,
            limit: model.config.n_ctx,
        });
    }
    let widest = model.graph.cache_dims().iter().max().copied().unwrap_or(0);
    let layer = u64::from(n_ctx) * u64::from(widest) * cache(options).n_bytes() as u64;
    if layer > MAX_BINDING {
        return Err(Error::Binding {
            model: file.name.clone(),
            what: "the cache of a layer",
            n_bytes: layer,
            limit: MAX_BINDING,
            remedy: "--ctx",
        });
    }
    let needed = footprint(model, layouts, options);
    match options.memory {
        Some(limit) if needed.total() > limit => Err(Error::Memory {
            model: file.name.clone(),
            total: needed.total(),
            weights: needed.weights,
            cache: needed.cache,
            activations: needed.activations,
            limit,
        }),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.shared.file)
            .field("device", &self.device())
            .finish_non_exhaustive()
    }
}
