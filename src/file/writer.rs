//! Writing tensors front to back: all are declared, then their bytes follow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Map, Value, json};

use super::error::{Error, brief};
use super::model_file::n_bytes;
use crate::tensor::{DType, Shape};

/// A tensor that is going to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name in the file.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its logical extents, row-major, also where blocks are stored.
    pub shape: Shape,
}

/// Writes a safetensors file. A block format becomes `U8` of `[rows, bytes of a
/// row]`; see [`quantization_config`](super::quantization_config) for what makes it readable.
pub struct SafetensorsWriter<W>(Body<W>);

impl<W: Write> SafetensorsWriter<W> {
    /// Begins the file `file` (its name, for messages) in `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Duplicate`] for tensors that no reader would accept; [`Error::Io`].
    pub fn new(
        file: &str,
        out: W,
        metadata: &BTreeMap<String, String>,
        tensors: &[Declaration],
    ) -> Result<Self, Error> {
        let mut body = Body::new(file, out, tensors, 1)?;
        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut begin = 0;
        for (tensor, n_bytes) in tensors.iter().zip(body.sizes()) {
            let end = begin + n_bytes;
            let (dtype, shape) = stored(tensor).ok_or_else(|| bad_shape(file, tensor))?;
            let entry = json!({"dtype": dtype, "shape": shape.0, "data_offsets": [begin, end]});
            header.insert(tensor.name.clone(), entry);
            begin = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Data begins at a multiple of 8, as readers that map the file like it.
        header.resize(header.len().next_multiple_of(8), b' ');
        body.write_header(&(header.len() as u64).to_le_bytes())?;
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

/// Type and shape under which safetensors stores a tensor.
fn stored(tensor: &Declaration) -> Option<(&'static str, Shape)> {
    let dtype = match tensor.dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        blocks => {
            let &[rows, cols] = &tensor.shape.0[..] else {
                return None;
            };
            return Some(("U8", Shape(vec![rows, blocks.row_bytes(cols)?])));
        }
    };
    Some((dtype, tensor.shape.clone()))
}

/// What comes after a header: the tensors in their declared order, padded.
pub(super) struct Body<W> {
    file: String,
    out: W,
    /// Name and size of each tensor.
    tensors: Vec<(String, u64)>,
    alignment: u64,
    /// The tensor that is being written and how much of it is.
    current: usize,
    written: u64,
}

impl<W: Write> Body<W> {
    pub(super) fn new(
        file: &str,
        out: W,
        tensors: &[Declaration],
        alignment: u64,
    ) -> Result<Self, Error> {
        if let Some(name) = duplicate_name(tensors.iter().map(|tensor| tensor.name.as_str())) {
            return Err(Error::Duplicate {
                file: file.to_owned(),
                what: "tensor",
                name,
            });
        }
        let sizes = tensors.iter().map(|tensor| {
            let dims: Vec<u64> = tensor.shape.0.iter().map(|&dim| dim as u64).collect();
            let size = n_bytes(
                &dims,
                tensor.dtype.block_len() as u64,
                tensor.dtype.block_bytes() as u64 * 8,
            );
            size.map(|size| (tensor.name.clone(), size))
                .ok_or_else(|| bad_shape(file, tensor))
        });
        let tensors = sizes.collect::<Result<_, _>>()?;
        let mut body = Self {
            file: file.to_owned(),
            out,
            tensors,
            alignment,
            current: 0,
            written: 0,
        };
        body.skip_empty();
        Ok(body)
    }

    pub(super) fn sizes(&self) -> Vec<u64> {
        self.tensors.iter().map(|(_, size)| *size).collect()
    }

    pub(super) fn write_header(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|cause| Error::Io {
            file: self.file.clone(),
            cause,
        })
    }

    pub(super) fn write(&mut self, tensor: &str, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (next, size) = match self.tensors.get(self.current) {
            Some((name, size)) if name == tensor => (name, *size),
            next => {
                let expected = next.map_or("nothing more".to_owned(), |(name, _)| {
                    format!("tensor {:?}", brief(name))
                });
                return Err(Error::unexpected(
                    &self.file,
                    "the next tensor",
                    expected,
                    tensor,
                ));
            }
        };
        let rest = size - self.written;
        if bytes.len() as u64 > rest {
            let what = format!("tensor {:?}", brief(next));
            return Err(Error::unexpected(
                &self.file,
                what,
                format!("{rest} more bytes"),
                bytes.len(),
            ));
        }
        self.write_header(bytes)?;
        self.written += bytes.len() as u64;
        if self.written == size {
            let padding = (size.next_multiple_of(self.alignment) - size) as usize;
            self.write_header(&vec![0; padding])?;
            self.current += 1;
            self.written = 0;
            self.skip_empty();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, Error> {
        if let Some((name, size)) = self.tensors.get(self.current) {
            let what = format!("tensor {:?}", brief(name));
            return Err(Error::unexpected(
                &self.file,
                what,
                format!("{size} bytes"),
                self.written,
            ));
        }
        self.out.flush().map_err(|cause| Error::Io {
            file: self.file.clone(),
            cause,
        })?;
        Ok(self.out)
    }

    fn skip_empty(&mut self) {
        while self
            .tensors
            .get(self.current)
            .is_some_and(|(_, size)| *size == 0)
        {
            self.current += 1;
        }
    }
}

/// A name that occurs twice.
pub(super) fn duplicate_name<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut seen = BTreeSet::new();
    names
        .into_iter()
        .find(|name| !seen.insert(*name))
        .map(brief)
}

fn bad_shape(file: &str, tensor: &Declaration) -> Error {
    Error::Shape {
        file: file.to_owned(),
        tensor: brief(&tensor.name),
        shape: tensor.shape.to_string(),
        dtype: tensor.dtype.to_string(),
    }
}
