//! What a model would need, from its headers alone.

use deputy::plan::Footprint;
use deputy::{DeviceChoice, Error, gpu};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::LoadRequest;
use super::worker::open;
use crate::problem::Problem;

/// What is known of a model before it is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) architecture: &'static str,
    pub(crate) n_params: u64,
    pub(crate) n_layers: u32,
    pub(crate) n_ctx: u32,
    pub(crate) model_ctx: u32,
    pub(crate) has_routers: bool,
    pub(crate) has_template: bool,
    pub(crate) footprint: Footprint,
    /// Bytes that are free where the device takes the machine's own memory; graphics cards do not
    /// tell.
    pub(crate) free: Option<u64>,
}

impl Estimate {
    pub(super) async fn new(request: LoadRequest) -> Result<Self, Problem> {
        find(request).await.map_err(|error| Problem::from(&error))
    }

    /// Whether it is known not to fit.
    pub(crate) fn is_too_large(&self) -> bool {
        self.free.is_some_and(|free| self.footprint.total() > free)
    }
}

async fn find(request: LoadRequest) -> Result<Estimate, Error> {
    let mut file = open(&request.model).await?;
    let params = file.tensors.values();
    let n_params = params
        .map(|tensor| tensor.shape.n_elements().unwrap_or(0) as u64)
        .sum();
    let (model, branches) = deputy::open_model(&mut file, false).await?;
    if deputy::tokenizer(&file, model.config.vocab_size)?.is_none() {
        return Err(Error::NoTokenizer { model: file.name });
    }
    let mut options = request.settings.options(model.config.n_ctx, None);
    let sidecar = branches.as_ref().map(|branches| branches.cache);
    options.cache_mode = options.cache_mode.or(sidecar);
    let layouts = options.weights.layouts(&model, branches.as_ref());
    Ok(Estimate {
        architecture: model.config.architecture.name,
        n_params,
        n_layers: model.config.n_layers,
        n_ctx: options
            .n_ctx
            .unwrap_or(model.config.n_ctx.min(deputy::DEFAULT_CTX)),
        model_ctx: model.config.n_ctx,
        has_routers: model.graph.is_routed(),
        has_template: deputy::template(&file)?.is_some(),
        footprint: deputy::footprint(&model, &layouts, &options),
        free: free_memory(&options.device).await,
    })
}

/// Bytes of the machine that are free, where the device takes its memory from there.
pub(super) async fn free_memory(device: &DeviceChoice) -> Option<u64> {
    let takes_host_memory = match device {
        DeviceChoice::Cpu => true,
        choice => {
            let adapters = gpu::adapters().await;
            let chosen = match choice {
                DeviceChoice::Name(name) => adapters.iter().find(|a| a.name == *name),
                _ => adapters.iter().find(|a| !a.is_software()),
            };
            chosen.is_none_or(|a| a.is_software() || a.kind == "integrated")
        }
    };
    if !takes_host_memory {
        return None;
    }
    let memory = MemoryRefreshKind::nothing().with_ram();
    let what = RefreshKind::nothing().with_memory(memory);
    // Where the system does not say, nothing is refused.
    let system = System::new_with_specifics(what).ok()?;
    Some(system.available_memory()).filter(|&free| free > 0)
}
