//! From bytes to named tensors: safetensors, GGUF and the Hugging Face folder.
//!
//! [`ModelFile`] reads headers and metadata only. A tensor is a checked range
//! of a [`ByteSource`]; its bytes are read when asked for, so that a loader
//! holds one tensor at a time. Nothing here knows what a key or tensor means.

mod cache;
mod error;
pub mod gguf;
mod json;
mod model_file;
mod quantized;
mod safetensors;
mod source;
mod writer;

pub use cache::CacheFolder;
pub use error::Error;
pub(crate) use error::brief;
pub use gguf::GgufWriter;
pub(crate) use json::{parse_json, read_json};
pub(crate) use model_file::kind;
pub use model_file::{Beside, ElementType, HuggingFace, Metadata, ModelFile, TensorInfo};
pub use quantized::{apply_quantization, quantization_config};
pub use safetensors::read_safetensors;
pub use source::*;
pub use writer::{Declaration, SafetensorsWriter};

/// Most tensors of a model. The largest dense models have some thousands; at
/// about 300 bytes each in memory this keeps a hostile header of some 30 bytes
/// a tensor within 16 MiB.
const MAX_TENSORS: u64 = 65_536;
/// Longest chat template in bytes, wherever it stands.
const MAX_CHAT_TEMPLATE: u64 = 256 << 10;
