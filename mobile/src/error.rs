//! What can go wrong, as an app tells it apart.

/// Why something could not be done. The text names the file, key or setting, what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "uniffi", derive(uniffi::Error))]
pub enum DeputyError {
    /// A file cannot be read, or is not what it should be.
    #[error("{reason}")]
    File {
        /// What is wrong.
        reason: String,
    },
    /// The model is not supported, or its files do not fit together.
    #[error("{reason}")]
    Model {
        /// What is wrong.
        reason: String,
    },
    /// More memory is needed than is allowed or there.
    #[error("{reason}")]
    Memory {
        /// What is wrong.
        reason: String,
    },
    /// There is no such device, or it failed. A lost device is opened again by the next answer.
    #[error("{reason}")]
    Device {
        /// What is wrong.
        reason: String,
    },
    /// The conversation is longer than the context.
    #[error("{reason}")]
    TooLong {
        /// What is wrong.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("{reason}")]
    Setting {
        /// What is wrong.
        reason: String,
    },
    /// The conversation is being answered; cancel that, or wait for it.
    #[error("the conversation is being answered")]
    Busy,
    /// The engine or the conversation was closed.
    #[error("it was closed")]
    Closed,
    /// A call that waits for the engine came from one of its own callbacks, and would wait for ever.
    #[error("called from a callback of the engine, for which it would wait for ever")]
    InCallback,
    /// A callback failed; the answer ended there.
    #[error("the callback failed: {reason}")]
    Callback {
        /// What it said.
        reason: String,
    },
    /// A defect of the library. The engine goes on; conversations compute their caches anew.
    #[error("the library panicked: {reason}")]
    Panic {
        /// What it said.
        reason: String,
    },
    /// Anything else.
    #[error("{reason}")]
    Other {
        /// What is wrong.
        reason: String,
    },
}

impl From<deputy::Error> for DeputyError {
    fn from(error: deputy::Error) -> Self {
        use deputy::Error as E;
        use deputy::gpu::Error as Gpu;
        let reason = error.to_string();
        match error {
            E::File(_) => Self::File { reason },
            E::Model(_)
            | E::Branch(_)
            | E::Tokenizer(_)
            | E::NoTokenizer { .. }
            | E::NotFinite { .. } => Self::Model { reason },
            E::Gpu(Gpu::OutOfMemory { .. }) | E::Memory { .. } | E::Binding { .. } => {
                Self::Memory { reason }
            }
            E::Gpu(_) => Self::Device { reason },
            E::PromptTooLong { .. } | E::TextTooLong { .. } => Self::TooLong { reason },
            E::Sampler(_) | E::Routes { .. } | E::Cache { .. } | E::Context { .. } => {
                Self::Setting { reason }
            }
            _ => Self::Other { reason },
        }
    }
}

impl DeputyError {
    /// From what a panic carried.
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let reason = text
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a word".to_owned());
        Self::Panic { reason }
    }
}
