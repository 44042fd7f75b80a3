//! safetensors: a JSON header of names, types and ranges, then the data.
//!
//! Stricter than the `safetensors` crate, which accepts a name twice and the
//! shape `[0, u64::MAX]`; the crate's [`Dtype`] says how large an element is.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{Error, brief};
use super::model_file::{ElementType, TensorInfo, n_bytes, shape};
use super::source::{ByteSource, Folder, check_plain_name, read_all};
use super::{MAX_TENSORS, json};
use crate::tensor::DType;

/// Name of the file that maps tensors to shards.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The format's own limit for the header.
const MAX_HEADER: u64 = 100_000_000;
const MAX_INDEX: u64 = 16 << 20;
/// The largest open models have some 200.
const MAX_SHARDS: u64 = 1_000;
/// Axes of a tensor; weights have up to 5.
const MAX_RANK: usize = 8;

/// Tensors by name, and the files that they stand in.
pub(super) type Tensors = (BTreeMap<String, TensorInfo>, Vec<Arc<dyn ByteSource>>);

/// The tensors of one file; their [`TensorInfo::source`] is 0.
///
/// # Errors
/// What is wrong with the file.
pub async fn read_safetensors(
    source: &dyn ByteSource,
) -> Result<BTreeMap<String, TensorInfo>, Error> {
    let mut tensors = BTreeMap::new();
    insert(&mut tensors, read_header(source, 0).await?, source)?;
    Ok(tensors)
}

/// The tensors of all files that `index` names.
pub(super) async fn open_shards(
    folder: &dyn Folder,
    index: &dyn ByteSource,
) -> Result<Tensors, Error> {
    let bytes = read_all(index, MAX_INDEX).await?;
    let text = json::text(index.name(), &bytes)?;
    let Index { weight_map } =
        serde_json::from_str(text).map_err(|cause| json::error(index.name(), &cause))?;
    let mut files = BTreeMap::<String, Vec<String>>::new();
    for (tensor, file) in weight_map.0 {
        check_plain_name(index.name(), &file)?;
        if !file.ends_with(".safetensors") {
            return Err(Error::FileName {
                file: index.name().to_owned(),
                found: brief(&file),
            });
        }
        files.entry(file).or_default().push(tensor);
    }
    over_limit(
        index.name(),
        "the number of shards",
        files.len() as u64,
        MAX_SHARDS,
    )?;

    let (mut tensors, mut sources) = (BTreeMap::new(), Vec::new());
    for (file, mut listed) in files {
        let source = folder
            .open(&file)
            .await?
            .ok_or_else(|| Error::MissingFile {
                folder: folder.name().to_owned(),
                missing: file.clone(),
                named_by: INDEX,
            })?;
        listed.sort_unstable();
        if let Some(twice) = listed.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(duplicate(index.name(), &twice[0]));
        }
        insert(
            &mut tensors,
            read_header(&*source, sources.len()).await?,
            &*source,
        )?;
        if let Some(missing) = listed
            .iter()
            .find(|name| tensors.get(*name).is_none_or(|t| t.source != sources.len()))
        {
            return Err(Error::MissingTensor {
                file: source.name().to_owned(),
                tensor: brief(missing),
                listed_in: index.name().to_owned(),
            });
        }
        sources.push(source);
    }
    Ok((tensors, sources))
}

/// Reads and checks the header of `source`, which is number `index` of its model's files.
async fn read_header(source: &dyn ByteSource, index: usize) -> Result<Vec<TensorInfo>, Error> {
    let file = source.name();
    let truncated = |what: String, need: u64| Error::Truncated {
        file: file.to_owned(),
        what,
        need,
        have: source.n_bytes(),
    };
    if source.n_bytes() < 8 {
        return Err(truncated("the header's length".to_owned(), 8));
    }
    let mut length = [0; 8];
    source.read(0, &mut length).await?;
    let length = u64::from_le_bytes(length);
    over_limit(file, "the header's length", length, MAX_HEADER)?;
    let data_begin = 8 + length;
    if data_begin > source.n_bytes() {
        return Err(truncated("the header".to_owned(), data_begin));
    }
    let mut header = vec![0; length as usize];
    source.read(8, &mut header).await?;
    if header.first() != Some(&b'{') {
        return Err(Error::unexpected(
            file,
            "the header's first byte",
            "'{'",
            header
                .first()
                .map_or(String::new(), |b| b.escape_ascii().to_string()),
        ));
    }
    let text = json::text(file, &header)?;
    let entries: Entries<Entry> =
        serde_json::from_str(text).map_err(|cause| json::error(file, &cause))?;
    drop(header);

    let mut tensors = Vec::with_capacity(entries.0.len());
    for (name, entry) in entries.0 {
        let range = check_entry(file, &name, &entry)?;
        let range = range
            .start
            .checked_add(data_begin)
            .zip(range.end.checked_add(data_begin));
        let (begin, end) =
            range.ok_or_else(|| truncated(format!("tensor {:?}", brief(&name)), u64::MAX))?;
        if end > source.n_bytes() {
            return Err(truncated(format!("tensor {:?}", brief(&name)), end));
        }
        let shape = shape(&entry.shape.0).ok_or_else(|| bad_shape(file, &name, &entry))?;
        tensors.push(TensorInfo {
            dtype: element_type(entry.dtype),
            name,
            shape,
            source: index,
            range: begin..end,
        });
    }
    check_cover(file, data_begin..source.n_bytes(), &mut tensors)?;
    Ok(tensors)
}

/// The entry's range within the data, of the length that its shape and type ask for.
fn check_entry(file: &str, name: &str, entry: &Entry) -> Result<Range<u64>, Error> {
    let (begin, end) = entry.data_offsets;
    let what = || format!("tensor {:?}", brief(name));
    let found = end.checked_sub(begin).ok_or_else(|| {
        Error::unexpected(
            file,
            what(),
            "data_offsets in order",
            format!("[{begin}, {end}]"),
        )
    })?;
    // An unknown type has no known size; it is refused when the tensor is used.
    let bits = stored_type(&entry.dtype).map_or(0, |dtype| dtype.bitsize() as u64);
    let expected = n_bytes(&entry.shape.0, 1, bits).ok_or_else(|| bad_shape(file, name, entry))?;
    if bits > 0 && found != expected {
        let expected = format!(
            "{expected} bytes for {:?} of {}",
            entry.shape.0,
            brief(&entry.dtype)
        );
        return Err(Error::unexpected(
            file,
            what(),
            expected,
            format!("{found} bytes"),
        ));
    }
    Ok(begin..end)
}

/// Every byte of `data` must belong to exactly one tensor.
fn check_cover(file: &str, data: Range<u64>, tensors: &mut [TensorInfo]) -> Result<(), Error> {
    tensors.sort_unstable_by_key(|tensor| (tensor.range.start, tensor.range.end));
    let mut end = data.start;
    let mut before = "";
    let gap = |begin, end| Error::Gap {
        file: file.to_owned(),
        begin,
        end,
    };
    for tensor in &*tensors {
        if tensor.range.start < end {
            return Err(Error::Overlap {
                file: file.to_owned(),
                tensor: brief(&tensor.name),
                other: brief(before),
            });
        }
        if tensor.range.start > end {
            return Err(gap(end, tensor.range.start));
        }
        (end, before) = (tensor.range.end, &tensor.name);
    }
    if end == data.end {
        Ok(())
    } else {
        Err(gap(end, data.end))
    }
}

fn insert(
    all: &mut BTreeMap<String, TensorInfo>,
    tensors: Vec<TensorInfo>,
    source: &dyn ByteSource,
) -> Result<(), Error> {
    over_limit(
        source.name(),
        "the number of tensors up to this file",
        (all.len() + tensors.len()) as u64,
        MAX_TENSORS,
    )?;
    for tensor in tensors {
        let name = tensor.name.clone();
        if let Some(first) = all.insert(name, tensor) {
            return Err(duplicate(source.name(), &first.name));
        }
    }
    Ok(())
}

fn over_limit(file: &str, what: &str, found: u64, limit: u64) -> Result<(), Error> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::OverLimit {
        file: file.to_owned(),
        what: what.to_owned(),
        limit,
        found,
    })
}

pub(super) fn duplicate(file: &str, name: &str) -> Error {
    Error::Duplicate {
        file: file.to_owned(),
        what: "tensor",
        name: brief(name),
    }
}

fn bad_shape(file: &str, name: &str, entry: &Entry) -> Error {
    Error::Shape {
        file: file.to_owned(),
        tensor: brief(name),
        shape: format!("{:?}", entry.shape.0),
        dtype: brief(&entry.dtype),
    }
}

fn stored_type(name: &str) -> Option<Dtype> {
    let name = StrDeserializer::<serde::de::value::Error>::new(name);
    Dtype::deserialize(name).ok()
}

fn element_type(stored: String) -> ElementType {
    match stored_type(&stored) {
        Some(Dtype::F32) => ElementType::Known(DType::F32),
        Some(Dtype::F16) => ElementType::Known(DType::F16),
        Some(Dtype::BF16) => ElementType::Known(DType::BF16),
        _ => ElementType::Other(brief(&stored)),
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: Entries<String>,
}

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

/// A JSON object in the file's order, with names that stand there twice.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an entry for each tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::duplicate_field("__metadata__"));
                        }
                        continue;
                    }
                    if entries.len() as u64 == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!(
                            "more than {MAX_TENSORS} tensors"
                        )));
                    }
                    let value = map.next_value().map_err(|cause| {
                        A::Error::custom(format_args!("tensor {:?}: {cause}", brief(&name)))
                    })?;
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}

/// Extents, few enough that a header of `[1,1,1,…` cannot grow fourfold in memory.
struct Dims(Vec<u64>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_RANK} extents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }

        deserializer.deserialize_seq(Collect)
    }
}
