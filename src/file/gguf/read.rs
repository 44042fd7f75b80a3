//! Reading the metadata of a GGUF file, front to back.

use super::cursor::Cursor;
use super::readable::Readable;
use super::types::from_number;
use super::value::{Array, Strings, Value};
use super::{ALIGNMENT, CHAT_TEMPLATE, DEFAULT_ALIGNMENT, MAGIC, Metadata};
use crate::file::error::{Error, brief};
use crate::file::model_file::{TensorInfo, check_chat_template, n_bytes, shape};
use crate::file::{ByteSource, MAX_TENSORS};

const MAX_KEYS: u64 = 100_000;
const MAX_DIMS: u32 = 4;
const MAX_ARRAY: u64 = 10_000_000;
/// Arrays inside arrays in the whole file: each takes 12 bytes there and 64 in memory.
const MAX_INNER_ARRAYS: u64 = 100_000;
const MAX_STRING: u64 = 64 << 20;
/// The format's limit for keys; tensor names are shorter still.
const MAX_NAME: u64 = 65_535;
const MAX_ALIGNMENT: u64 = 1 << 20;
const ARRAY_KIND: u32 = 9;

/// Metadata and tensors of `source`.
pub(in crate::file) async fn read(
    source: &dyn ByteSource,
) -> Result<(Metadata, Vec<TensorInfo>), Error> {
    let mut cursor = Cursor::new(source);
    let file = source.name();
    let readable = Readable::new(file)?;
    let magic: [u8; 4] = cursor.bytes("the magic number").await?;
    if magic != MAGIC {
        return Err(Error::unexpected(
            file,
            "its first bytes",
            "GGUF",
            magic.escape_ascii(),
        ));
    }
    let version: u32 = cursor.number("the version").await?;
    match version {
        2 | 3 => {}
        _ if (1..=3).contains(&version.swap_bytes()) => {
            return Err(Error::unexpected(
                file,
                "the byte order",
                "little-endian",
                "big-endian",
            ));
        }
        _ => return Err(Error::unexpected(file, "the version", "2 or 3", version)),
    }
    let n_tensors: u64 = cursor.number("the number of tensors").await?;
    let n_keys: u64 = cursor.number("the number of keys").await?;
    // A tensor has a length, a rank, a type and an offset; a key a length, a type and a byte of value.
    cursor.check_count(n_tensors, MAX_TENSORS, 24, "the number of tensors")?;
    cursor.check_count(n_keys, MAX_KEYS, 13, "the number of keys")?;

    let metadata = read_metadata(&mut cursor, version, n_keys as usize, readable).await?;
    let alignment = check_metadata(&metadata)?;
    let mut raw = Vec::with_capacity(n_tensors as usize);
    for _ in 0..n_tensors {
        raw.push(read_tensor(&mut cursor).await?);
    }
    // No overflow: the position is within the file, the alignment small.
    let data_begin = cursor.position().next_multiple_of(alignment);
    let tensors = raw
        .into_iter()
        .map(|raw| raw.check(source, data_begin, alignment))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((metadata, check_apart(source, tensors)?))
}

async fn read_metadata(
    cursor: &mut Cursor<'_>,
    version: u32,
    n_keys: usize,
    readable: Readable,
) -> Result<Metadata, Error> {
    let begin = cursor.position();
    let mut entries = Vec::with_capacity(n_keys);
    let mut n_inner_arrays = 0;
    for i in 0..n_keys {
        let key = cursor.string(MAX_NAME, &format!("key number {i}")).await?;
        let what = format!("key {:?}", brief(&key));
        let value = read_value(cursor, &what, &mut n_inner_arrays).await?;
        entries.push((key, value));
    }
    let mut by_key: Vec<u32> = (0..n_keys as u32).collect();
    let key = |i: u32| entries[i as usize].0.as_str();
    by_key.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
    let file = cursor.source.name().to_owned();
    if let Some(pair) = by_key.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
        return Err(Error::Duplicate {
            file,
            what: "key",
            name: brief(key(pair[0])),
        });
    }
    Ok(Metadata {
        file,
        version,
        range: begin..cursor.position(),
        entries,
        by_key,
        _readable: readable,
    })
}

/// Checks the keys that concern the file itself and gives the alignment.
fn check_metadata(metadata: &Metadata) -> Result<u64, Error> {
    if let Some(template) = metadata.get_str(CHAT_TEMPLATE)? {
        check_chat_template(&metadata.file, CHAT_TEMPLATE, template)?;
    }
    if let Some(n) = metadata.get_u32("split.count")?.filter(|&n| n > 1) {
        return Err(metadata.unexpected("split.count", "1, the model in one file", n));
    }
    match metadata.get(ALIGNMENT) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(n)) if n.is_power_of_two() && u64::from(n) <= MAX_ALIGNMENT => {
            Ok(n.into())
        }
        Some(other) => {
            Err(metadata.unexpected(ALIGNMENT, "a u32 that is a power of two up to 2^20", other))
        }
    }
}

async fn read_value(
    cursor: &mut Cursor<'_>,
    what: &str,
    n_inner_arrays: &mut u64,
) -> Result<Value, Error> {
    Ok(match cursor.number(what).await? {
        0u32 => Value::U8(cursor.number(what).await?),
        1 => Value::I8(cursor.number(what).await?),
        2 => Value::U16(cursor.number(what).await?),
        3 => Value::I16(cursor.number(what).await?),
        4 => Value::U32(cursor.number(what).await?),
        5 => Value::I32(cursor.number(what).await?),
        6 => Value::F32(cursor.number(what).await?),
        7 => Value::Bool(boolean(cursor.source, what, cursor.number(what).await?)?),
        8 => Value::String(cursor.string(MAX_STRING, what).await?),
        ARRAY_KIND => Value::Array(read_array(cursor, what, n_inner_arrays).await?),
        10 => Value::U64(cursor.number(what).await?),
        11 => Value::I64(cursor.number(what).await?),
        12 => Value::F64(cursor.number(what).await?),
        other => return Err(unknown_kind(cursor, what, other)),
    })
}

async fn read_array(
    cursor: &mut Cursor<'_>,
    what: &str,
    n_inner_arrays: &mut u64,
) -> Result<Array, Error> {
    let (kind, n) = read_array_header(cursor, what).await?;
    if kind != ARRAY_KIND {
        return read_flat_array(cursor, kind, n, what).await;
    }
    *n_inner_arrays += n as u64;
    cursor.check_count(
        *n_inner_arrays,
        MAX_INNER_ARRAYS,
        0,
        "the number of arrays in arrays",
    )?;
    let mut arrays = Vec::with_capacity(n);
    for _ in 0..n {
        let (kind, n) = read_array_header(cursor, what).await?;
        if kind == ARRAY_KIND {
            return Err(Error::unexpected(
                cursor.source.name(),
                what,
                "arrays nested at most 2 deep",
                "a third level",
            ));
        }
        arrays.push(read_flat_array(cursor, kind, n, what).await?);
    }
    Ok(Array::Array(arrays))
}

/// Kind and number of an array's values, which fit into the rest of the file.
async fn read_array_header(cursor: &mut Cursor<'_>, what: &str) -> Result<(u32, usize), Error> {
    let kind: u32 = cursor.number(what).await?;
    let n: u64 = cursor.number(what).await?;
    let least_bytes = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        ARRAY_KIND => 12,
        _ => return Err(unknown_kind(cursor, what, kind)),
    };
    cursor.check_count(
        n,
        MAX_ARRAY,
        least_bytes,
        &format!("the length of the array at {what}"),
    )?;
    Ok((kind, n as usize))
}

async fn read_flat_array(
    cursor: &mut Cursor<'_>,
    kind: u32,
    n: usize,
    what: &str,
) -> Result<Array, Error> {
    Ok(match kind {
        0 => Array::U8(cursor.numbers(n, what).await?),
        1 => Array::I8(cursor.numbers(n, what).await?),
        2 => Array::U16(cursor.numbers(n, what).await?),
        3 => Array::I16(cursor.numbers(n, what).await?),
        4 => Array::U32(cursor.numbers(n, what).await?),
        5 => Array::I32(cursor.numbers(n, what).await?),
        6 => Array::F32(cursor.numbers(n, what).await?),
        7 => {
            let bytes: Vec<u8> = cursor.numbers(n, what).await?;
            Array::Bool(
                bytes
                    .into_iter()
                    .map(|byte| boolean(cursor.source, what, byte))
                    .collect::<Result<_, _>>()?,
            )
        }
        8 => {
            let mut strings = Strings::with_capacity(n);
            for _ in 0..n {
                strings.push(cursor.str(MAX_STRING, what).await?);
            }
            Array::String(Box::new(strings))
        }
        10 => Array::U64(cursor.numbers(n, what).await?),
        11 => Array::I64(cursor.numbers(n, what).await?),
        12 => Array::F64(cursor.numbers(n, what).await?),
        other => return Err(unknown_kind(cursor, what, other)),
    })
}

fn boolean(source: &dyn ByteSource, what: &str, byte: u8) -> Result<bool, Error> {
    match byte {
        0 | 1 => Ok(byte == 1),
        _ => Err(Error::unexpected(
            source.name(),
            what,
            "a boolean of 0 or 1",
            byte,
        )),
    }
}

fn unknown_kind(cursor: &Cursor<'_>, what: &str, kind: u32) -> Error {
    Error::unexpected(cursor.source.name(), what, "a value type of 0 to 12", kind)
}

/// A tensor's description as it stands in the file, its extents already row-major.
struct RawTensor {
    name: String,
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
}

async fn read_tensor(cursor: &mut Cursor<'_>) -> Result<RawTensor, Error> {
    let name = cursor.string(MAX_NAME, "a tensor's name").await?;
    let what = format!("tensor {:?}", brief(&name));
    let n_dims: u32 = cursor.number(&what).await?;
    if n_dims > MAX_DIMS {
        return Err(Error::unexpected(
            cursor.source.name(),
            what,
            format!("at most {MAX_DIMS} dimensions"),
            n_dims,
        ));
    }
    let mut dims: Vec<u64> = cursor.numbers(n_dims as usize, &what).await?;
    // ggml counts from the axis that varies fastest.
    dims.reverse();
    let kind = cursor.number(&what).await?;
    let offset = cursor.number(&what).await?;
    Ok(RawTensor {
        name,
        dims,
        kind,
        offset,
    })
}

impl RawTensor {
    fn check(
        self,
        source: &dyn ByteSource,
        data_begin: u64,
        alignment: u64,
    ) -> Result<TensorInfo, Error> {
        let file = source.name();
        let kind = from_number(self.kind);
        if !self.offset.is_multiple_of(alignment) {
            let what = format!("offset of tensor {:?}", brief(&self.name));
            return Err(Error::unexpected(
                file,
                what,
                format!("a multiple of {alignment}"),
                self.offset,
            ));
        }
        // The extent of an unknown type follows from its neighbour, see `check_apart`.
        let (block_len, block_bytes) = kind.block.unwrap_or((1, 0));
        let Some((size, shape)) =
            n_bytes(&self.dims, block_len, block_bytes * 8).zip(shape(&self.dims))
        else {
            return Err(Error::Shape {
                file: file.to_owned(),
                tensor: brief(&self.name),
                shape: format!("{:?}", self.dims),
                dtype: kind.element.to_string(),
            });
        };
        let begin = data_begin.saturating_add(self.offset);
        let end = begin.saturating_add(size);
        if end > source.n_bytes() {
            let what = format!("tensor {:?}", brief(&self.name));
            return Err(Error::Truncated {
                file: file.to_owned(),
                what,
                need: end,
                have: source.n_bytes(),
            });
        }
        Ok(TensorInfo {
            name: self.name,
            dtype: kind.element,
            shape,
            source: 0,
            range: begin..end,
        })
    }
}

/// Refuses names that stand there twice and tensors that share bytes.
fn check_apart(
    source: &dyn ByteSource,
    mut tensors: Vec<TensorInfo>,
) -> Result<Vec<TensorInfo>, Error> {
    let file = || source.name().to_owned();
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::Duplicate {
            file: file(),
            what: "tensor",
            name: brief(&pair[0].name),
        });
    }
    tensors.sort_unstable_by_key(|tensor| (tensor.range.start, tensor.range.end));
    if let Some(pair) = tensors
        .windows(2)
        .find(|pair| pair[0].range.end > pair[1].range.start)
    {
        return Err(Error::Overlap {
            file: file(),
            tensor: brief(&pair[1].name),
            other: brief(&pair[0].name),
        });
    }
    for i in 0..tensors.len() {
        let next = tensors
            .get(i + 1)
            .map_or(source.n_bytes(), |next| next.range.start);
        let tensor = &mut tensors[i];
        // Only a type of unknown size has elements and no bytes.
        if tensor.range.is_empty() && !tensor.shape.0.contains(&0) {
            tensor.range.end = next;
        }
    }
    Ok(tensors)
}
