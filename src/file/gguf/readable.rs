//! Whether GGUF files are read at all.

use crate::file::error::Error;

/// What is needed to hold a file's metadata. Without the feature `gguf` no value of it exists, so that the compiler
/// leaves out what is done with them, here and in all modules above.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    #[cfg(not(feature = "gguf"))]
    _none: std::convert::Infallible,
}

impl Readable {
    /// Refuses `file` where the feature is off.
    #[cfg(feature = "gguf")]
    pub(super) fn new(_file: &str) -> Result<Self, Error> {
        Ok(Self {})
    }

    #[cfg(not(feature = "gguf"))]
    pub(super) fn new(file: &str) -> Result<Self, Error> {
        let expected = "a folder with safetensors";
        let found = "GGUF, which was left out when this was built";
        Err(Error::unexpected(file, "the format", expected, found))
    }
}
