//! Branches of a layer: the sidecar that brings low-rank factors and a router to a model, and the
//! adapters that factors can be made from.
//!
//! A sidecar is two files beside a model, `deputy.json` and `deputy.safetensors`; [`Sidecar::open`]
//! finds and checks them, [`Draft::write`] makes them. A model without one runs as it is; a sidecar
//! that does not fit its model is refused.

mod draft;
mod effort;
mod identity;
mod lora;
mod object;
mod schema;
mod sidecar;
mod tensors;

pub use draft::Draft;
pub use effort::{Effort, Offsets};
pub use identity::{ModelIdentity, ModelShape};
pub use lora::{LORA_CONFIG, Lora, LoraPair};
pub use schema::{FactorFormat, Settings, max_dense_layers};
pub use sidecar::Sidecar;

use crate::file;

/// Why a sidecar or an adapter cannot be used or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing a file failed, or it is no JSON or safetensors.
    #[error(transparent)]
    File(#[from] file::Error),
    /// A value other than the format or the model allows.
    #[error("{file}: {key}: expected {expected}, found {found}")]
    Invalid {
        /// The file.
        file: String,
        /// The key, with those above it.
        key: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A key that the format does not have.
    #[error("{file}: {key} is not known")]
    UnknownKey {
        /// The file.
        file: String,
        /// The key, with those above it.
        key: String,
    },
    /// A sidecar of another model.
    #[error(
        "{file}: belongs to another model: model.hash: expected {expected}, found {found}; \
         fit it again, or move it away to run without it"
    )]
    OtherModel {
        /// The file.
        file: String,
        /// The model's own.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A tensor that the ranks ask for is absent.
    #[error("{file}: tensor {tensor:?} of shape {expected} is missing")]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        expected: String,
    },
    /// A tensor that nothing asks for.
    #[error("{file}: unexpected tensor {tensor:?}")]
    UnexpectedTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor of another shape than the model and the ranks ask for.
    #[error("{file}: tensor {tensor:?}: expected shape {expected}, found {found}")]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What the model and the ranks ask for.
        expected: String,
        /// In the file.
        found: String,
    },
    /// A tensor of a type that factors cannot have.
    #[error("{file}: tensor {tensor:?}: expected elements of F32, F16 or BF16, found {found}")]
    ElementType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// In the file.
        found: String,
    },
    /// A tensor with NaN or infinity, or with a number too large for the type that it is written in.
    #[error("{file}: tensor {tensor:?} holds NaN or infinity in row {row}")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The row.
        row: usize,
    },
    /// An effort, or a table of offsets, that cannot be.
    #[error("{key}: expected {expected}, found {found}")]
    Effort {
        /// Which number.
        key: String,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: String,
    },
}

/// A rule that a value breaks, before it is known in which file.
#[derive(Debug)]
struct Rule {
    key: String,
    expected: String,
    found: String,
}

impl Rule {
    fn new(key: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Self {
        Self {
            key: key.into(),
            expected: expected.into(),
            found: file::brief(&found.to_string()),
        }
    }

    fn in_file(self, file: &str) -> Error {
        Error::Invalid {
            file: file.to_owned(),
            key: self.key,
            expected: self.expected,
            found: self.found,
        }
    }
}
