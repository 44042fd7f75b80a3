//! Writing GGUF files.

use std::io::Write;

use super::types::number;
use super::value::{Array, Number, Strings, Value};
use super::{ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC};
use crate::file::Error;
use crate::file::writer::{Body, Declaration, duplicate_name};

/// Writes a GGUF file of version 3 front to back: everything but the data when it is made, then the data.
pub struct GgufWriter<W>(Body<W>);

impl<W: Write> GgufWriter<W> {
    /// Begins the file `file` (its name, for messages) in `out`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Duplicate`] or [`Error::Unexpected`] for tensors
    /// and keys that no reader would accept; [`Error::Io`].
    pub fn new(
        file: &str,
        out: W,
        metadata: &[(String, Value)],
        tensors: &[Declaration],
    ) -> Result<Self, Error> {
        let keys = metadata.iter().map(|(key, _)| key.as_str());
        if let Some(name) = duplicate_name(keys) {
            return Err(Error::Duplicate {
                file: file.to_owned(),
                what: "key",
                name,
            });
        }
        let alignment = match metadata.iter().find(|(key, _)| key == ALIGNMENT) {
            None => DEFAULT_ALIGNMENT,
            Some((_, Value::U32(n))) if n.is_power_of_two() => u64::from(*n),
            Some((key, other)) => {
                return Err(Error::unexpected(
                    file,
                    key,
                    "a u32 that is a power of two",
                    other,
                ));
            }
        };
        let mut body = Body::new(file, out, tensors, alignment)?;

        let mut header = MAGIC.to_vec();
        3u32.put_le(&mut header);
        (tensors.len() as u64).put_le(&mut header);
        (metadata.len() as u64).put_le(&mut header);
        for (key, value) in metadata {
            put_str(key, &mut header);
            put_value(value, &mut header);
        }
        let mut offset = 0u64;
        for (tensor, n_bytes) in tensors.iter().zip(body.sizes()) {
            put_str(&tensor.name, &mut header);
            (tensor.shape.0.len() as u32).put_le(&mut header);
            for &dim in tensor.shape.0.iter().rev() {
                (dim as u64).put_le(&mut header);
            }
            number(tensor.dtype).put_le(&mut header);
            offset.put_le(&mut header);
            offset = (offset + n_bytes).next_multiple_of(alignment);
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        body.write_header(&header)?;
        Ok(Self(body))
    }

    /// Appends bytes of `tensor`. Tensors come in the order in which they were declared, each whole or in parts.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for another tensor than the next one or for too many bytes; [`Error::Io`].
    pub fn write(&mut self, tensor: &str, bytes: &[u8]) -> Result<(), Error> {
        self.0.write(tensor, bytes)
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// [`Error::Unexpected`] if bytes are missing; [`Error::Io`].
    pub fn finish(self) -> Result<W, Error> {
        self.0.finish()
    }
}

fn put_str(text: &str, out: &mut Vec<u8>) {
    (text.len() as u64).put_le(out);
    out.extend_from_slice(text.as_bytes());
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    fn put(kind: u32, number: impl Number, out: &mut Vec<u8>) {
        kind.put_le(out);
        number.put_le(out);
    }
    match value {
        Value::U8(x) => put(0, *x, out),
        Value::I8(x) => put(1, *x, out),
        Value::U16(x) => put(2, *x, out),
        Value::I16(x) => put(3, *x, out),
        Value::U32(x) => put(4, *x, out),
        Value::I32(x) => put(5, *x, out),
        Value::F32(x) => put(6, *x, out),
        Value::Bool(x) => put(7, u8::from(*x), out),
        Value::String(x) => {
            8u32.put_le(out);
            put_str(x, out);
        }
        Value::Array(x) => {
            9u32.put_le(out);
            put_array(x, out);
        }
        Value::U64(x) => put(10, *x, out),
        Value::I64(x) => put(11, *x, out),
        Value::F64(x) => put(12, *x, out),
    }
}

fn put_array(array: &Array, out: &mut Vec<u8>) {
    fn put(numbers: &[impl Number], out: &mut Vec<u8>) {
        numbers.iter().for_each(|number| number.put_le(out));
    }
    array.kind().0.put_le(out);
    (array.len() as u64).put_le(out);
    match array {
        Array::U8(x) => put(x, out),
        Array::I8(x) => put(x, out),
        Array::U16(x) => put(x, out),
        Array::I16(x) => put(x, out),
        Array::U32(x) => put(x, out),
        Array::I32(x) => put(x, out),
        Array::F32(x) => put(x, out),
        Array::Bool(x) => out.extend(x.iter().map(|&b| u8::from(b))),
        Array::String(x) => Strings::iter(x).for_each(|text| put_str(text, out)),
        Array::Array(x) => x.iter().for_each(|array| put_array(array, out)),
        Array::U64(x) => put(x, out),
        Array::I64(x) => put(x, out),
        Array::F64(x) => put(x, out),
    }
}
