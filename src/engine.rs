//! A loaded model on a device.

mod cancel;
mod device;
mod load;
#[cfg(not(target_arch = "wasm32"))]
mod quantize;
mod sidecar;
mod text;

pub use cancel::Cancel;
pub use device::DeviceChoice;
pub use load::{LoadReport, Progress, WeightFormat};
#[cfg(not(target_arch = "wasm32"))]
pub use quantize::quantize;
#[cfg(all(not(target_arch = "wasm32"), feature = "fit"))]
pub(crate) use quantize::{Rewrite, rewrite};
pub use sidecar::{model_shape, open_model, sidecar};
pub use text::{template, tokenizer};

pub(crate) use device::{Loaded, State, Ticket, open};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use web_time::Instant;

use crate::branch;
use crate::error::Error;
use crate::file::{CacheFolder, ModelFile};
use crate::gpu::{self, GpuOptions, Tuning};
use crate::graph::{CacheMode, WeightId};
use crate::kernels::linear::Activations;
use crate::kernels::{CacheType, Capabilities};
use crate::model::{Config, Model};
use crate::plan::{Arenas, Footprint, MAX_BINDING, Settings, Size, WeightLayout, lower};
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
    /// Type of the key/value cache; f16 where `None`. Of quantised ones the heads must be whole blocks of 32.
    pub cache: Option<CacheType>,
    /// How the cache keeps tokens of the low-rank branch; as the model's sidecar says where `None`.
    pub cache_mode: Option<CacheMode>,
    /// How prefill holds what its products multiply with the weights.
    pub activations: Activations,
    /// Leave the model's sidecar alone: no branches.
    pub dense: bool,
    /// Refuse to load if more bytes would be needed.
    pub memory: Option<u64>,
    /// A kernel that runs as its CPU twin instead, to find out which one is wrong on a device.
    pub cpu_kernel: Option<String>,
    /// Have shaders check every index; see [`GpuOptions::checked`].
    pub checked: bool,
    /// How the constants of products are chosen.
    pub tuning: Tuning,
    /// What kernels may use of a GPU; see [`GpuOptions::capabilities`].
    pub capabilities: Option<Capabilities>,
    /// Folder of what saves work on the next run, compiled pipelines for one; nothing is kept
    /// where `None`. It is made where it is missing, and may be deleted at any time.
    pub cache_dir: Option<PathBuf>,
    /// Stops loading from outside, between two pieces of a tensor: [`Error::Cancelled`].
    pub cancel: Cancel,
}

impl LoadOptions {
    fn gpu(&self) -> GpuOptions {
        GpuOptions {
            checked: self.checked,
            tuning: self.tuning,
            capabilities: self.capabilities,
            cache: self.cache_dir.as_deref().map(CacheFolder::new),
        }
    }
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
    branches: Option<branch::Settings>,
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
        let start = Instant::now();
        let file = ModelFile::open_path(path.as_ref()).await?;
        Self::open(file, options, start, progress).await
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
        Self::open(file, options, Instant::now(), progress).await
    }

    async fn open(
        mut file: ModelFile,
        options: LoadOptions,
        start: Instant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let (model, branches) = open_model(&mut file, options.dense).await?;
        let mode = branches.as_ref().map(|branches| branches.cache);
        let options = LoadOptions {
            cache_mode: options.cache_mode.or(mode),
            ..options
        };
        let tokenizer = text::tokenizer(&file, model.config.vocab_size)?;
        let template = text::template(&file)?;
        let layouts = options.weights.layouts(&model, branches.as_ref());
        check(&file, &model, &layouts, &options)?;
        let before = start.elapsed();
        let mut loaded = Loaded::new(&file, &model, &layouts, &options, progress).await?;
        loaded.report.model = before;
        loaded.report.total += before;
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                model,
                layouts,
                branches,
                // A lost device is loaded again whatever becomes of it.
                options: LoadOptions {
                    cancel: Cancel::default(),
                    ..options
                },
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

    /// What the model's sidecar says, if it has one.
    pub fn branches(&self) -> Option<&branch::Settings> {
        self.shared.branches.as_ref()
    }

    /// How each parameter lies on the device.
    pub fn layouts(&self) -> &[WeightLayout] {
        &self.shared.layouts
    }

    /// A parameter's values as its file has them, `[rows, cols]`: for what is computed beside the
    /// device.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds NaN or infinity.
    ///
    /// # Panics
    /// Where the model has no such parameter.
    pub async fn weight(&self, id: WeightId) -> Result<Vec<f32>, Error> {
        let Shared { file, model, .. } = &*self.shared;
        let at = id.0 as usize;
        load::weight(file, &model.graph.weights()[at], &model.weights[at]).await
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

    /// The adapter that the model runs on; `None` for the CPU.
    pub fn adapter(&self) -> Option<gpu::Adapter> {
        self.loaded().adapter()
    }

    /// Why the model runs on the CPU though a GPU was welcome.
    pub fn fallback(&self) -> Option<String> {
        self.loaded().fallback.clone()
    }

    /// How long loading took; after a lost device, loading again.
    pub fn load_report(&self) -> LoadReport {
        self.loaded().report
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

    /// GPU buffers, bind groups and pipelines made since the device was opened; none on the CPU.
    pub fn n_objects(&self) -> u64 {
        self.loaded().n_objects()
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

    pub(crate) fn file(&self) -> &ModelFile {
        &self.shared.file
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

    /// What a session with so many sequences is planned for.
    pub fn settings(&self, n_sequences: u32) -> Settings {
        let Shared { model, options, .. } = &*self.shared;
        settings(model, options, n_sequences, self.loaded().n_splits())
    }
}

/// Bytes that a model would need on a device with these options and one session. Loads nothing.
pub fn footprint(model: &Model, layouts: &[WeightLayout], options: &LoadOptions) -> Footprint {
    let mut settings = settings(model, options, 1, device::MAX_SPLITS);
    // Room for every token to be dense: a latent one takes no more.
    for arenas in settings.arenas.iter_mut().flatten() {
        arenas.dense = settings.n_ctx;
    }
    let size = Size {
        rows: MAX_ROWS,
        n_out: 1,
        sample: true,
        all_full: false,
    };
    let slots = lower(&model.graph, layouts, &settings, size).slots;
    Footprint::new(&model.graph, layouts, &slots, &settings, size)
}

fn settings(model: &Model, options: &LoadOptions, n_sequences: u32, n_splits: u32) -> Settings {
    let (n_ctx, cache) = (n_ctx(&model.config, options), cache(options));
    let mode = options.cache_mode.unwrap_or_default();
    Settings {
        n_ctx,
        n_sequences,
        cache,
        activations: options.activations,
        n_splits,
        arenas: Arenas::of_layers(&model.graph, mode, cache, n_ctx),
    }
}

fn n_ctx(config: &Config, options: &LoadOptions) -> u32 {
    options.n_ctx.unwrap_or(config.n_ctx.min(DEFAULT_CTX))
}

fn cache(options: &LoadOptions) -> CacheType {
    options.cache.unwrap_or(CacheType::F16)
}

/// Rows of keys of a layer and sequence at most. Where latent rows' keys lie behind the dense ones either arena may
/// have grown to the whole context, for one text after another.
pub(crate) fn most_rows(n_ctx: u32, mode: CacheMode) -> u64 {
    match mode {
        CacheMode::LatentV => 2 * u64::from(n_ctx),
        CacheMode::Dense | CacheMode::Latent => u64::from(n_ctx),
    }
}

/// What can be known before anything is loaded: the cache's type, its context and the memory.
fn check(
    file: &ModelFile,
    model: &Model,
    layouts: &[WeightLayout],
    options: &LoadOptions,
) -> Result<(), Error> {
    let cache = cache(options);
    let head_dim = model.config.head_dim;
    if !head_dim.is_multiple_of(cache.block_len()) {
        return Err(Error::Cache {
            model: file.name.clone(),
            cache: cache.name(),
            expected: cache.block_len(),
            found: head_dim,
        });
    }
    let n_ctx = n_ctx(&model.config, options);
    if n_ctx == 0 || n_ctx > model.config.n_ctx {
        return Err(Error::Context {
            found: n_ctx,
            limit: model.config.n_ctx,
        });
    }
    let widths = model.graph.kv_heads().iter().map(|heads| heads.cols());
    let widest = widths.max().unwrap_or(0);
    let mode = options.cache_mode.unwrap_or_default();
    let layer = most_rows(n_ctx, mode) * cache.row_bytes(u64::from(widest));
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
