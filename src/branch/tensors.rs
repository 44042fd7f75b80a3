//! Tensors of a sidecar or an adapter: which there must be, and their values.

use std::collections::{BTreeMap, HashSet};

use super::{Error, ModelShape};
use crate::file::{ByteSource, ElementType, TensorInfo, brief};
use crate::graph::{N_LOGITS, RouterKind, Routing};
use crate::tensor::quant::{dequantize_row, first_non_finite};
use crate::tensor::{DType, Shape};

/// A tensor that must be there.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) shape: Shape,
    /// Type that it is written in: a router's numbers are few and decide; factors are f16 or what they are
    /// [quantised] to.
    pub(super) dtype: DType,
}

/// With factors in a block format, as far as their rows fill whole blocks.
pub(super) fn quantised(mut slots: Vec<Slot>, format: DType) -> Vec<Slot> {
    for slot in &mut slots {
        let (_, cols) = slot.shape.rows_cols().unwrap_or((1, 1));
        if !slot.name.contains(".router.") && format.row_bytes(cols).is_some() {
            slot.dtype = format;
        }
    }
    slots
}

/// Every tensor of a sidecar, by layer.
pub(super) fn slots(routing: &Routing, model: &ModelShape) -> Vec<Slot> {
    let mut slots = vec![];
    let (dim, n_logits) = (model.dim as usize, N_LOGITS as usize);
    for (n, layer) in routing.layers.iter().enumerate() {
        let mut slot = |name: String, shape: Vec<usize>, dtype| {
            slots.push(Slot {
                name: format!("layers.{n}.{name}"),
                shape: Shape(shape),
                dtype,
            });
        };
        for (name, rank) in layer.each() {
            let Some(rank) = rank else { continue };
            let (d_out, d_in) = model.projection(name);
            let (d_out, d_in, rank) = (d_out as usize, d_in as usize, rank as usize);
            slot(format!("{name}.B"), vec![d_out, rank], DType::F16);
            slot(format!("{name}.D"), vec![rank, d_in], DType::F16);
        }
        if !layer.is_routed() {
            continue;
        }
        slot("router.norm".to_owned(), vec![dim], DType::F32);
        let mut inputs = dim;
        if let RouterKind::Mlp { width } = routing.router {
            inputs = width as usize;
            slot("router.hidden".to_owned(), vec![inputs, dim], DType::F16);
            slot("router.hidden_norm".to_owned(), vec![inputs], DType::F32);
        }
        let weight = vec![n_logits, inputs];
        slot("router.weight".to_owned(), weight, DType::F32);
        slot("router.bias".to_owned(), vec![n_logits], DType::F32);
    }
    slots
}

/// Checks that `found` has just these tensors.
pub(super) fn check(
    file: &str,
    found: &BTreeMap<String, TensorInfo>,
    slots: &[Slot],
) -> Result<(), Error> {
    for slot in slots {
        let tensor = found.get(&slot.name).ok_or_else(|| missing(file, slot))?;
        check_shape(file, slot, &tensor.shape)?;
        dtype(file, tensor)?;
    }
    if found.len() == slots.len() {
        return Ok(());
    }
    let expected: HashSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
    let other = found.keys().find(|name| !expected.contains(name.as_str()));
    other.map_or(Ok(()), |name| Err(unexpected(file, name)))
}

pub(super) fn check_shape(file: &str, slot: &Slot, found: &Shape) -> Result<(), Error> {
    if *found == slot.shape {
        return Ok(());
    }
    Err(Error::Shape {
        file: file.to_owned(),
        tensor: slot.name.clone(),
        expected: slot.shape.to_string(),
        found: found.to_string(),
    })
}

pub(super) fn missing(file: &str, slot: &Slot) -> Error {
    Error::MissingTensor {
        file: file.to_owned(),
        tensor: slot.name.clone(),
        expected: slot.shape.to_string(),
    }
}

pub(super) fn unexpected(file: &str, name: &str) -> Error {
    Error::UnexpectedTensor {
        file: file.to_owned(),
        tensor: brief(name),
    }
}

/// The type of a tensor: a plain one, or the blocks that a sidecar is written in.
pub(super) fn dtype(file: &str, tensor: &TensorInfo) -> Result<DType, Error> {
    match &tensor.dtype {
        ElementType::Known(
            dtype @ (DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0),
        ) => Ok(*dtype),
        other => Err(Error::ElementType {
            file: file.to_owned(),
            tensor: brief(&tensor.name),
            found: other.to_string(),
        }),
    }
}

/// Bytes of a tensor that are in memory at a time, about.
const SLAB: u64 = 4 << 20;

/// Reads a tensor piece by piece and refuses NaN and infinity.
pub(super) async fn read_finite(
    source: &dyn ByteSource,
    tensor: &TensorInfo,
    take: &mut dyn FnMut(DType, &[u8]),
) -> Result<(), Error> {
    let dtype = dtype(source.name(), tensor)?;
    let (_, cols) = tensor.shape.rows_cols().unwrap_or((1, 1));
    let (mut at, mut n_elements) = (tensor.range.start, 0);
    let mut bytes = vec![];
    let slab = SLAB - SLAB % dtype.block_bytes() as u64;
    while at < tensor.range.end {
        let n_bytes = (tensor.range.end - at).min(slab);
        bytes.resize(n_bytes as usize, 0);
        source.read(at, &mut bytes).await?;
        if let Some(bad) = first_non_finite(dtype, &bytes) {
            let row = (n_elements + bad) / cols.max(1);
            return Err(not_finite(source.name(), &tensor.name, row));
        }
        take(dtype, &bytes);
        at += n_bytes;
        n_elements += n_elements_in(dtype, &bytes);
    }
    Ok(())
}

fn n_elements_in(dtype: DType, bytes: &[u8]) -> usize {
    bytes.len() / dtype.block_bytes() * dtype.block_len()
}

pub(super) fn not_finite(file: &str, tensor: &str, row: usize) -> Error {
    Error::NotFinite {
        file: file.to_owned(),
        tensor: brief(tensor),
        row,
    }
}

/// A tensor's values, none of them NaN or infinite.
pub(super) async fn values(
    source: &dyn ByteSource,
    tensor: &TensorInfo,
) -> Result<Vec<f32>, Error> {
    let mut values = vec![];
    let mut take = |dtype: DType, bytes: &[u8]| {
        let begin = values.len();
        values.resize(begin + n_elements_in(dtype, bytes), 0.0);
        dequantize_row(dtype, bytes, &mut values[begin..]);
    };
    read_finite(source, tensor, &mut take).await?;
    Ok(values)
}
