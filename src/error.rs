//! One error for everything that the engine does.

mod kind;

pub use kind::ErrorKind;

use crate::branch;
use crate::file;
use crate::gpu;
use crate::model;
use crate::sampler;
use crate::tokenizer;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or is not what it should be.
    #[error(transparent)]
    File(#[from] file::Error),
    /// The model is not supported, or its files do not fit together.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A sidecar or an adapter.
    #[error(transparent)]
    Branch(#[from] branch::Error),
    /// The tokenizer, a template or a text.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// A sampling setting.
    #[error(transparent)]
    Sampler(#[from] sampler::Error),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// Routes that cannot be taken.
    #[error("{key}: expected {expected}, found {found}")]
    Routes {
        /// What of them.
        key: &'static str,
        /// What is allowed.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// A snapshot that cannot be gone on from.
    #[error("snapshot: {key}: expected {expected}, found {found}")]
    Snapshot {
        /// What of it.
        key: &'static str,
        /// What this session has.
        expected: String,
        /// What the snapshot has.
        found: String,
    },
    /// The model and its session need more memory than allowed.
    #[error(
        "{model}: needs {total} bytes ({weights} weights, {cache} cache, {activations} activations), \
         more than the {limit} allowed; choose a smaller --ctx, --kv q8 or --weights q4"
    )]
    Memory {
        /// The model.
        model: String,
        /// Everything.
        total: u64,
        /// Packed parameters.
        weights: u64,
        /// Keys and values.
        cache: u64,
        /// The rest.
        activations: u64,
        /// The limit.
        limit: u64,
    },
    /// One buffer would be larger than any device has to bind.
    #[error(
        "{model}: {what} needs {n_bytes} bytes in one buffer, at most {limit} can be bound; choose a smaller {remedy}"
    )]
    Binding {
        /// The model.
        model: String,
        /// The buffer.
        what: &'static str,
        /// Its size.
        n_bytes: u64,
        /// The limit.
        limit: u64,
        /// What the caller can change.
        remedy: &'static str,
    },
    /// Heads that are no whole number of the blocks that a quantised cache stores.
    #[error(
        "{model}: --kv {cache} stores blocks of {expected} elements, and the heads have {found}; use --kv f16 or f32"
    )]
    Cache {
        /// The model.
        model: String,
        /// The type of the cache that was asked for.
        cache: &'static str,
        /// Elements of a block.
        expected: u32,
        /// Width of a head.
        found: u32,
    },
    /// A context longer than the model or the cache can have.
    #[error("a context of {found} positions is not possible: the model has {limit}")]
    Context {
        /// What was asked for.
        found: u32,
        /// What the model has.
        limit: u32,
    },
    /// [`Cancel`](crate::Cancel) stopped loading.
    #[error("loading was cancelled")]
    Cancelled,
    /// A prompt that does not fit.
    #[error(
        "the prompt has {found} tokens, but the context has {limit} positions and one is needed for the answer; use a larger --ctx"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        found: usize,
        /// Positions of the context.
        limit: u32,
    },
    /// Text that cannot fit, however it is split into tokens.
    #[error(
        "the text has {n_bytes} bytes; a context of {n_ctx} positions holds {limit} at the very most; use a larger --ctx"
    )]
    TextTooLong {
        /// Bytes of the text.
        n_bytes: usize,
        /// More than any text of the context's length.
        limit: usize,
        /// Positions of the context.
        n_ctx: u32,
    },
    /// Nothing to continue.
    #[error("the prompt has no tokens, and the model has no token to begin with")]
    EmptyPrompt,
    /// A token that the model does not have.
    #[error("token {found} is not in the vocabulary of {limit}")]
    UnknownToken {
        /// The id.
        found: u32,
        /// Size of the vocabulary.
        limit: u32,
    },
    /// Text was asked of a model that came without a tokenizer.
    #[error("{model}: has no tokenizer, so there is no text; use --prompt-ids")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// The model computed NaN or infinity.
    #[error(
        "{model}: the logits at position {position} are not finite; the first such values come from {origin}"
    )]
    NotFinite {
        /// The model.
        model: String,
        /// Position of the token.
        position: u32,
        /// The first part of the model that made such a value.
        origin: String,
    },
}

impl Error {
    /// Whether the device is gone; the session recovers on its next call.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Error::Gpu(gpu::Error::Lost { .. }))
    }
}
