//! What can be wrong with a file.

use std::io;

/// Why a file could not be read or written.
///
/// `file` is the name of the [`ByteSource`](super::ByteSource) or folder; text
/// from inside a file is shortened and without control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{file}: {cause}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Neither a model folder nor a GGUF file.
    #[error("{path}: no model here; looked for {looked_for}")]
    NotAModel {
        /// The folder or file.
        path: String,
        /// What would have been a model.
        looked_for: &'static str,
    },
    /// The folder holds pickled weights, which are code and are never run.
    #[error(
        "{folder}: has {found} but no safetensors; convert it: \
         load it with transformers and save it again with save_pretrained(.., safe_serialization=True)"
    )]
    PytorchOnly {
        /// The folder.
        folder: String,
        /// The pickled file.
        found: &'static str,
    },
    /// Too many or too long, whatever the rest says.
    #[error("{file}: {what}: expected at most {limit}, found {found}")]
    OverLimit {
        /// The file.
        file: String,
        /// What was counted.
        what: String,
        /// The highest allowed value.
        limit: u64,
        /// The value in the file.
        found: u64,
    },
    /// The file ends before what it announces.
    #[error("{file}: {what} ends at byte {need}, but the file has {have} bytes")]
    Truncated {
        /// The file.
        file: String,
        /// A tensor, key or header.
        what: String,
        /// Where it should end; `u64::MAX` where that overflows.
        need: u64,
        /// Length of the file.
        have: u64,
    },
    /// Text is not UTF-8.
    #[error("{file}: {what} is not UTF-8")]
    NotUtf8 {
        /// The file.
        file: String,
        /// Which text.
        what: String,
    },
    /// JSON that cannot be parsed or lacks a field.
    #[error("{file}: {cause}")]
    Json {
        /// The file.
        file: String,
        /// The parser's message with line and column.
        cause: String,
    },
    /// A value other than the format or the caller requires.
    #[error("{file}: {what}: expected {expected}, found {found}")]
    Unexpected {
        /// The file.
        file: String,
        /// Key, tensor or field.
        what: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A metadata key that is needed is absent.
    #[error("{file}: key {key:?} is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// A file that another one names is absent.
    #[error("{folder}: file {missing:?} is missing; {named_by} names it")]
    MissingFile {
        /// The folder.
        folder: String,
        /// The absent file.
        missing: String,
        /// The file that names it.
        named_by: &'static str,
    },
    /// A tensor that another file lists is absent.
    #[error("{file}: tensor {tensor:?} is missing; {listed_in} lists it here")]
    MissingTensor {
        /// The file that should have it.
        file: String,
        /// The tensor.
        tensor: String,
        /// The file that lists it.
        listed_in: String,
    },
    /// The same name twice.
    #[error("{file}: {what} {name:?} stands there twice")]
    Duplicate {
        /// The file.
        file: String,
        /// Key or tensor.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two tensors share bytes.
    #[error("{file}: tensors {tensor:?} and {other:?} overlap")]
    Overlap {
        /// The file.
        file: String,
        /// The one that begins later.
        tensor: String,
        /// The one that begins earlier.
        other: String,
    },
    /// Bytes of the data section belong to no tensor.
    #[error("{file}: bytes {begin}..{end} belong to no tensor")]
    Gap {
        /// The file.
        file: String,
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A tensor's size cannot be computed: it overflows or cuts a block.
    #[error(
        "{file}: tensor {tensor:?}: shape {shape} of {dtype} overflows or does not fill whole blocks"
    )]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Extents as stored.
        shape: String,
        /// Element type as stored.
        dtype: String,
    },
    /// A tensor that is needed has an element type that cannot be computed with.
    #[error("{file}: tensor {tensor:?} has elements of type {found}, which is not supported")]
    ElementType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// An index names something else than a file in its own folder.
    #[error(
        "{file}: expected the plain name of a .safetensors file in this folder, found {found:?}"
    )]
    FileName {
        /// The index or folder.
        file: String,
        /// The name.
        found: String,
    },
    /// Bytes or rows outside a tensor were asked for.
    #[error("{file}: tensor {tensor:?}: {unit} {begin}..{end} asked for, but it has {have}")]
    OutOfTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Bytes or rows.
        unit: &'static str,
        /// First one.
        begin: u64,
        /// One past the last one.
        end: u64,
        /// How many there are.
        have: u64,
    },
}

impl Error {
    pub(super) fn unexpected(
        file: &str,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        Self::Unexpected {
            file: file.to_owned(),
            what: what.into(),
            expected: expected.into(),
            found: brief(&found.to_string()),
        }
    }
}

/// Text from a file for a message: short, and without characters that command a terminal.
pub(crate) fn brief(text: &str) -> String {
    const MOST: usize = 120;
    let mut brief: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        brief.push('…');
    }
    brief
}
