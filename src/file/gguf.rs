//! GGUF: typed key-value pairs, tensor descriptions, then aligned data.
//!
//! Versions 2 and 3, little-endian, as described in
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod read;
mod readable;
mod types;
mod value;
mod write;

use std::ops::Range;

pub(super) use read::read;
pub use value::{Array, Strings, Value};
pub use write::GgufWriter;

use super::error::{Error, brief};
use readable::Readable;

const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensors where `general.alignment` says nothing.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT: &str = "general.alignment";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// The key-value pairs of a file.
///
/// A getter gives `None` for an absent key ([`Metadata::missing`] makes that
/// an error) and an error that names the key for a value of another type.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The file's name, for messages.
    pub file: String,
    /// Format version, 2 or 3.
    pub version: u32,
    /// Where the key-value section stands in the file, byte for byte what [`GgufWriter`] makes of [`Metadata::entries`].
    pub range: Range<u64>,
    entries: Vec<(String, Value)>,
    /// Indices into `entries` in the order of their keys.
    by_key: Vec<u32>,
    _readable: Readable,
}

impl Metadata {
    /// All pairs in the file's order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entry = |&i: &u32| &self.entries[i as usize];
        let found = self
            .by_key
            .binary_search_by(|i| entry(i).0.as_str().cmp(key))
            .ok()?;
        Some(&entry(&self.by_key[found]).1)
    }

    /// The error for an absent key that is needed.
    pub fn missing(&self, key: &str) -> Error {
        Error::MissingKey {
            file: self.file.clone(),
            key: brief(key),
        }
    }

    /// The error for a value that is not what it should be.
    pub fn unexpected(&self, key: &str, expected: &str, found: impl ToString) -> Error {
        Error::unexpected(&self.file, format!("key {:?}", brief(key)), expected, found)
    }

    /// An integer of any width that fits.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type, a negative or a larger number.
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "an integer of 0..2^32", |value| {
            value.to_i128().and_then(|n| u32::try_from(n).ok())
        })
    }

    /// An integer of any width that fits.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type or a negative number.
    pub fn get_u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "an integer of 0..2^64", |value| {
            value.to_i128().and_then(|n| u64::try_from(n).ok())
        })
    }

    /// A float of either width.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "a float", |value| match value {
            Value::F32(x) => Some(*x),
            Value::F64(x) => Some(*x as f32),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |value| {
            if let Value::Bool(x) = value {
                Some(*x)
            } else {
                None
            }
        })
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |value| {
            if let Value::String(x) = value {
                Some(x.as_str())
            } else {
                None
            }
        })
    }

    /// An array of anything.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_array(&self, key: &str) -> Result<Option<&Array>, Error> {
        self.typed(key, "an array", |value| {
            if let Value::Array(x) = value {
                Some(x)
            } else {
                None
            }
        })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_strings(&self, key: &str) -> Result<Option<&Strings>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(x)) => Some(&**x),
            _ => None,
        })
    }

    /// An array of 32-bit floats.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type.
    pub fn get_f32s(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.typed(key, "an array of f32", |value| match value {
            Value::Array(Array::F32(x)) => Some(&x[..]),
            _ => None,
        })
    }

    /// An array of 32-bit integers; some writers use the unsigned type for small numbers.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another type or a number beyond `i32`.
    pub fn get_i32s(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.typed(key, "an array of i32", |value| match value {
            Value::Array(Array::I32(x)) => Some(x.clone()),
            Value::Array(Array::U32(x)) => x.iter().map(|&n| i32::try_from(n).ok()).collect(),
            _ => None,
        })
    }

    /// The chat template, whose length was checked when the file was opened.
    pub fn chat_template(&self) -> Option<&str> {
        self.get_str(CHAT_TEMPLATE).ok().flatten()
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        get: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        get(value)
            .map(Some)
            .ok_or_else(|| self.unexpected(key, expected, value))
    }
}
