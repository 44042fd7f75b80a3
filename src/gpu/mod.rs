//! Runs plans on a WebGPU device. The only module that names wgpu.

mod bandwidth;
mod call;
mod device;
mod pipelines;
mod profile;
mod readback;
mod state;
mod tune;
mod weights;

pub use device::{Adapter, Gpu, GpuOptions, adapters};
pub use state::{MAX_IN_FLIGHT, State, Ticket};
pub use tune::Tuning;
pub use weights::Weights;

/// What can go wrong on a device.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter at all.
    #[error(
        "no GPU adapter was found; use --device cpu, or install a Vulkan, Metal or DX12 driver"
    )]
    NoAdapter,
    /// No adapter answers to this choice.
    #[error("no GPU adapter {wanted:?}; there are: {found}")]
    UnknownAdapter {
        /// The number or name that was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The adapter gives no device.
    #[error("{adapter}: cannot open the device: {cause}")]
    Open {
        /// The adapter.
        adapter: String,
        /// What it said.
        cause: String,
    },
    /// An allocation failed.
    #[error(
        "{adapter}: out of memory for {what} ({n_bytes} bytes); choose a smaller --ctx or --weights q4"
    )]
    OutOfMemory {
        /// The adapter.
        adapter: String,
        /// What was allocated.
        what: String,
        /// Its size.
        n_bytes: u64,
    },
    /// The driver or WebGPU's validation refused a shader.
    #[error("{adapter}: {shader}: {cause}")]
    Shader {
        /// The adapter.
        adapter: String,
        /// The kernel's variant.
        shader: String,
        /// What it said.
        cause: String,
    },
    /// The device is gone; it has to be opened anew.
    #[error("{adapter}: the device was lost: {cause}")]
    Lost {
        /// The adapter.
        adapter: String,
        /// What the driver said.
        cause: String,
    },
    /// Kernels cannot be timed.
    #[error("{adapter}: the driver has no timestamp queries, which kernel times come from")]
    NoTimestamps {
        /// The adapter.
        adapter: String,
    },
    /// Anything else that the driver reports.
    #[error("{adapter}: {cause}")]
    Driver {
        /// The adapter.
        adapter: String,
        /// What it said.
        cause: String,
    },
}
