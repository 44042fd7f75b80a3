//! What went wrong, in the words of someone who has a window and no command line.

use deputy::{Error, file, gpu};

use crate::text::bytes;

/// A message with what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) title: String,
    /// File, key, expected and found, as the engine says it.
    pub(crate) detail: String,
    pub(crate) remedy: &'static str,
}

impl Problem {
    pub(crate) fn new(
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            title: title.into(),
            detail: detail.into(),
            remedy,
        }
    }

    /// Of a file that the window itself reads or writes.
    pub(crate) fn of_store(title: &str, error: &crate::store::Error) -> Self {
        Self::new(title, error.to_string(), "")
    }
}

const SMALLER: &str = "Settings has a smaller context, the q8 or q4 cache and q4 weights.";
const SHORTER: &str =
    "Start a new chat, or give the model a longer context in Settings if it has one.";
const OTHER_DEVICE: &str = "Settings has the other devices; the CPU always works.";

impl From<&Error> for Problem {
    /// The engine's own messages name options of its command line; those are put in other words.
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Memory {
                total,
                weights,
                cache,
                activations,
                limit,
                ..
            } => Self::new(
                "The model does not fit into memory",
                format!(
                    "It needs {} ({} weights, {} cache, {} activations); {} are free.",
                    bytes(*total),
                    bytes(*weights),
                    bytes(*cache),
                    bytes(*activations),
                    bytes(*limit)
                ),
                SMALLER,
            ),
            Error::Binding {
                what,
                n_bytes,
                limit,
                ..
            } => Self::new(
                "The context is too long for this model",
                format!(
                    "{what} would need {} in one buffer; at most {} are possible.",
                    bytes(*n_bytes),
                    bytes(*limit)
                ),
                "Choose a smaller context in Settings.",
            ),
            Error::Cache {
                cache,
                expected,
                found,
                ..
            } => Self::new(
                "This cache format does not fit the model",
                format!(
                    "{cache} stores blocks of {expected} elements; the model's heads have {found}."
                ),
                "Choose the f16 or f32 cache in Settings.",
            ),
            Error::PromptTooLong { found, limit } => Self::new(
                "The conversation is longer than the context",
                format!(
                    "It has {found} tokens; the context has {limit} positions, and the answer needs some."
                ),
                SHORTER,
            ),
            Error::TextTooLong { n_bytes, n_ctx, .. } => Self::new(
                "The conversation is longer than the context",
                format!("It has {n_bytes} bytes of text; the context has {n_ctx} positions."),
                SHORTER,
            ),
            Error::NoTokenizer { model } => Self::new(
                "This model cannot read text",
                format!("{model} has no tokenizer."),
                "Put the model's tokenizer.json beside its weights.",
            ),
            Error::NotFinite { .. } => Self::new(
                "The model's numbers are not finite",
                detail,
                "Its files may be damaged, or the device's driver computes wrongly: try the CPU in Settings.",
            ),
            Error::File(file::Error::Io { .. }) => Self::new(
                "A file cannot be read",
                detail,
                "It may have been moved, or its disk is not there.",
            ),
            Error::File(file::Error::NotAModel { .. }) => Self::new(
                "There is no model here",
                detail,
                "Choose a folder with config.json and safetensors, or a .gguf file.",
            ),
            Error::File(_) => Self::new(
                "The model's files are damaged or incomplete",
                detail,
                "Download them again.",
            ),
            Error::Model(_) => Self::new("This model is not supported", detail, ""),
            Error::Branch(_) => Self::new("The model's routing files do not fit", detail, ""),
            Error::Tokenizer(_) => Self::new(
                "The conversation cannot be put into the model's form",
                detail,
                "",
            ),
            Error::Gpu(gpu::Error::Lost { adapter, cause }) => Self::new(
                "The graphics device was lost",
                format!("{adapter}: {cause}"),
                "Try again: it is opened anew. If it happens again, choose another device in Settings.",
            ),
            Error::Gpu(gpu::Error::OutOfMemory {
                adapter,
                what,
                n_bytes,
            }) => Self::new(
                "The device is out of memory",
                format!("{adapter} has no room for {what} ({}).", bytes(*n_bytes)),
                SMALLER,
            ),
            Error::Gpu(gpu::Error::UnknownAdapter { wanted, found }) => Self::new(
                "The chosen device is not there",
                format!("{wanted} was not found; there are: {found}"),
                OTHER_DEVICE,
            ),
            Error::Gpu(gpu::Error::NoAdapter) => Self::new(
                "There is no graphics device",
                "No Vulkan, Metal or DX12 driver was found.",
                OTHER_DEVICE,
            ),
            Error::Gpu(_) => {
                Self::new("The graphics driver reports an error", detail, OTHER_DEVICE)
            }
            _ => Self::new("The engine reports an error", detail, ""),
        }
    }
}
