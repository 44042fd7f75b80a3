//! Weights from file to device, some rows at a time.

use std::str::FromStr;
use std::time::Duration;

use rayon::prelude::*;
use web_time::Instant;

use super::device::Upload;
use crate::branch::{self, FactorFormat};
use crate::error::Error;
use crate::file::ModelFile;
use crate::graph::{Op, Weight, WeightId};
use crate::model::{self, Model, WeightSource};
use crate::plan::{MAX_BINDING, WeightLayout, stack};
use crate::tensor::DType;
use crate::tensor::quant::{
    dequantize_row, first_non_finite, has_one_scale, pack_row, quantize_row,
};

/// Format of the weights on the device. Norms and biases are f32 in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As the file has them.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Blocks of 32 signed bytes with an f16 scale. What is quantised already stays as it is.
    Q8,
    /// Blocks of 32 nibbles with an f16 scale; embedding and output head in `Q8`.
    /// What is quantised already stays as it is.
    Q4,
}

impl FromStr for WeightFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => WeightFormat::Auto,
            "f32" => WeightFormat::F32,
            "f16" => WeightFormat::F16,
            "q8" => WeightFormat::Q8,
            "q4" => WeightFormat::Q4,
            other => {
                return Err(format!(
                    "weights {other:?} are not one of auto, f32, f16, q8, q4"
                ));
            }
        })
    }
}

impl WeightFormat {
    /// The type on the device of a parameter that the file stores as `stored`.
    pub fn dtype(self, weight: &Weight, stored: DType) -> DType {
        if weight.is_exact {
            return DType::F32;
        }
        let is_vocabulary =
            ["model.embed_tokens.weight", "lm_head.weight"].contains(&weight.name.as_str());
        match self {
            WeightFormat::Auto => stored,
            WeightFormat::F32 => DType::F32,
            WeightFormat::F16 => DType::F16,
            WeightFormat::Q8 | WeightFormat::Q4 if stored.is_quantized() => stored,
            // Errors in these two reach every token; four bits cost more here than they save.
            WeightFormat::Q4 if !is_vocabulary => DType::Q4_0,
            WeightFormat::Q8 | WeightFormat::Q4 => DType::Q8_0,
        }
    }

    /// How each parameter of a model will lie on the device; `branches` says in which format the factors do.
    pub fn layouts(self, model: &Model, branches: Option<&branch::Settings>) -> Vec<WeightLayout> {
        let weights = model.graph.weights().iter().zip(&model.weights);
        let mut dtypes: Vec<DType> = weights
            .map(|(weight, source)| self.dtype(weight, source.dtype))
            .collect();
        let format = branches.map_or(FactorFormat::Auto, |branches| branches.factors);
        for node in model.graph.nodes() {
            let Op::Linear {
                parts,
                branches: Some(branches),
                ..
            } = &node.op
            else {
                continue;
            };
            for (part, factors) in parts.iter().zip(&branches.factors) {
                let dtype = factor_dtype(format, dtypes[part.weight.0 as usize]);
                for id in factors.iter().flat_map(|factors| [factors.b, factors.d]) {
                    dtypes[id.0 as usize] = dtype;
                }
            }
        }
        let weights = model.graph.weights().iter().zip(dtypes);
        let mut layouts: Vec<WeightLayout> = weights
            .map(|(weight, dtype)| WeightLayout::new(dtype, weight.rows, weight.cols, MAX_BINDING))
            .collect();
        stack(&model.graph, &mut layouts);
        layouts
    }
}

/// Factors lie as the weight that they stand for, or in the format nearest to its that can be quantised to.
fn factor_dtype(format: FactorFormat, weight: DType) -> DType {
    match (format, weight) {
        (FactorFormat::F32, _) => DType::F32,
        (FactorFormat::F16, _) => DType::F16,
        (FactorFormat::Q8, _) => DType::Q8_0,
        (FactorFormat::Q4, _) => DType::Q4_0,
        (FactorFormat::Auto, DType::F32) => DType::F32,
        (FactorFormat::Auto, DType::F16 | DType::BF16) => DType::F16,
        (FactorFormat::Auto, DType::Q4_0 | DType::Q4_1 | DType::Q4K) => DType::Q4_0,
        (FactorFormat::Auto, DType::Q5_0 | DType::Q5K | DType::Q6K | DType::Q8_0) => DType::Q8_0,
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that have been read and handed to the device.
    pub done: u64,
    /// Bytes that the model's tensors have in the file.
    pub total: u64,
}

/// How long loading took, by phase. The pipelines are compiled beside the other phases, so that
/// together these may take longer than the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Headers, configuration, graph, tokenizer and chat template. The headers are read before
    /// [`crate::Engine::from_file`], which does not count them.
    pub model: Duration,
    /// Opening the device and allocating the weights.
    pub device: Duration,
    /// Reading the weights from their files.
    pub read: Duration,
    /// Converting and packing them.
    pub pack: Duration,
    /// Handing them to the device, and waiting for it.
    pub upload: Duration,
    /// Compiling the kernels that the model uses.
    pub pipelines: Duration,
    /// Everything, from beginning to end. The time from a cold start to the first token is this,
    /// that of [`crate::Engine::session`], and the first answer's
    /// [`crate::Generation::time_to_first_token`].
    pub total: Duration,
}

/// Adds the time since `start`, and begins anew.
pub(super) fn lap(start: &mut Instant, phase: &mut Duration) {
    let now = Instant::now();
    *phase += now - *start;
    *start = now;
}

/// Bytes of a tensor that are in host memory at a time, about.
const SLAB: usize = 8 << 20;

/// Reads, converts, packs and uploads every parameter, until `progress` fails.
pub(super) async fn weights(
    file: &ModelFile,
    model: &Model,
    layouts: &[WeightLayout],
    upload: &mut Upload,
    report: &mut LoadReport,
    progress: &mut dyn FnMut(Progress) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut lap_start = Instant::now();
    let total = model.weights.iter().map(|w| w.tensor.n_bytes()).sum();
    let mut done = 0;
    let (mut q, mut s) = (vec![], vec![]);
    for (i, (layout, source)) in layouts.iter().zip(&model.weights).enumerate() {
        let row = layout.packed_row();
        let is_flat = model.graph.is_flat(WeightId(i as u32));
        let mut slabs = Slabs::new(file, source, layout.rows, layout.cols);
        while let Some(slab) = slabs.next().await? {
            lap(&mut lap_start, &mut report.read);
            if is_flat {
                check_scales(file, source, &slab)?;
            }
            let n_rows = slab.bytes.len() / slab.row_bytes;
            q.resize(n_rows * row.q_words, 0u32);
            s.resize(n_rows * row.s_words, 0u32);
            let bad = pack(
                layout,
                source.dtype,
                slab.bytes,
                slab.row_bytes,
                &mut q,
                &mut s,
            );
            if let Some(bad) = bad {
                return Err(not_finite(file, source, slab.first_row + bad).into());
            }
            lap(&mut lap_start, &mut report.pack);
            upload
                .write(WeightId(i as u32), slab.first_row as u32, &q, &s)
                .await?;
            lap(&mut lap_start, &mut report.upload);
            done += slab.bytes.len() as u64;
            progress(Progress { done, total })?;
        }
    }
    Ok(())
}

/// Refuses rows whose blocks differ in their scale: products of integers multiply with the first one's alone.
fn check_scales(
    file: &ModelFile,
    source: &WeightSource,
    slab: &Slab<'_>,
) -> Result<(), model::Error> {
    let mut rows = slab.bytes.chunks_exact(slab.row_bytes);
    match rows.position(|row| !has_one_scale(source.dtype, row)) {
        None => Ok(()),
        Some(row) => Err(model::Error::Invalid {
            file: file.file_of(&source.tensor).to_owned(),
            key: format!(
                "tensor {:?}, row {}",
                source.tensor.name,
                slab.first_row + row
            ),
            expected: "one scale for all blocks, since the model is flattened".to_owned(),
            found: "several".to_owned(),
        }),
    }
}

/// A parameter's values, `[rows, cols]`.
pub(super) async fn weight(
    file: &ModelFile,
    weight: &Weight,
    source: &WeightSource,
) -> Result<Vec<f32>, Error> {
    let cols = weight.cols as usize;
    let mut values = vec![0.0; weight.rows as usize * cols];
    let mut slabs = Slabs::new(file, source, weight.rows, weight.cols);
    while let Some(slab) = slabs.next().await? {
        let rows = slab.bytes.par_chunks_exact(slab.row_bytes);
        let out = values[slab.first_row * cols..].par_chunks_exact_mut(cols);
        let dequantize = |(i, (bytes, out)): (usize, (&[u8], &mut [f32]))| {
            dequantize_row(source.dtype, bytes, out);
            first_non_finite(source.dtype, bytes).map(|_| i)
        };
        let bad = rows.zip(out).enumerate().filter_map(dequantize).min();
        if let Some(bad) = bad {
            return Err(not_finite(file, source, slab.first_row + bad).into());
        }
    }
    Ok(values)
}

/// Packs rows, several at a time; returns the first row with NaN, infinity or an overflow.
fn pack(
    layout: &WeightLayout,
    stored: DType,
    bytes: &[u8],
    row_bytes: usize,
    q: &mut [u32],
    s: &mut [u32],
) -> Option<usize> {
    let row = layout.packed_row();
    let cols = layout.cols as usize;
    let pack_one = |(i, bytes): (usize, &[u8]), q: &mut [u32], s: &mut [u32]| -> Option<usize> {
        let mut converted = vec![];
        let bytes = convert(stored, layout.dtype, bytes, cols, &mut converted);
        pack_row(layout.dtype, bytes, cols, q, s);
        first_non_finite(layout.dtype, bytes).map(|_| i)
    };
    let rows = bytes.par_chunks_exact(row_bytes).enumerate();
    let q = q.par_chunks_exact_mut(row.q_words);
    if row.s_words == 0 {
        return rows
            .zip(q)
            .filter_map(|(row, q)| pack_one(row, q, &mut []))
            .min();
    }
    let s = s.par_chunks_exact_mut(row.s_words);
    rows.zip(q)
        .zip(s)
        .filter_map(|((row, q), s)| pack_one(row, q, s))
        .min()
}

/// A row in another type: `bytes` itself where nothing changes, else written to `out`.
pub(super) fn convert<'a>(
    from: DType,
    to: DType,
    bytes: &'a [u8],
    cols: usize,
    out: &'a mut Vec<u8>,
) -> &'a [u8] {
    if from == to {
        return bytes;
    }
    let mut values = vec![0.0; cols];
    dequantize_row(from, bytes, &mut values);
    out.clear();
    quantize_row(to, &values, out);
    out
}

/// A tensor's rows in pieces of about [`SLAB`] bytes.
pub(super) struct Slabs<'a> {
    file: &'a ModelFile,
    source: &'a WeightSource,
    rows: usize,
    next_row: usize,
    bytes: Vec<u8>,
    row_bytes: usize,
}

/// Some rows of a tensor, as the file has them.
pub(super) struct Slab<'a> {
    pub(super) first_row: usize,
    pub(super) bytes: &'a [u8],
    pub(super) row_bytes: usize,
}

impl<'a> Slabs<'a> {
    pub(super) fn new(file: &'a ModelFile, source: &'a WeightSource, rows: u32, cols: u32) -> Self {
        let row_bytes = source.dtype.row_bytes(cols as usize);
        Self {
            file,
            source,
            rows: rows as usize,
            next_row: 0,
            bytes: vec![],
            row_bytes: row_bytes.expect("the file module has checked the tensor's extent"),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Slab<'_>>, Error> {
        let first_row = self.next_row;
        if first_row == self.rows {
            return Ok(None);
        }
        let n_rows = (SLAB / self.row_bytes).clamp(1, self.rows - first_row);
        self.next_row += n_rows;
        self.bytes.resize(n_rows * self.row_bytes, 0);
        let range = self
            .file
            .rows(&self.source.tensor, first_row..self.next_row)?;
        self.file
            .read(&self.source.tensor, range, &mut self.bytes)
            .await?;
        Ok(Some(Slab {
            first_row,
            bytes: &self.bytes,
            row_bytes: self.row_bytes,
        }))
    }
}

pub(super) fn not_finite(file: &ModelFile, source: &WeightSource, row: usize) -> model::Error {
    model::Error::NotFinite {
        file: file.file_of(&source.tensor).to_owned(),
        tensor: source.tensor.name.clone(),
        row,
    }
}
