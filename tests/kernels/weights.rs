//! Random weight matrices of every type, packed as the device reads them.

use crate::common::{random, random_words};
use deputy::reference::Packed;
use deputy::tensor::DType;
use deputy::tensor::quant::{can_quantize, pack_row, packed_row, quantize_row};
use half::f16;

/// A packed matrix.
pub(crate) struct Weights {
    pub(crate) q: Vec<u32>,
    pub(crate) s: Vec<u32>,
}

impl Weights {
    /// Elements are within about ±1. A type that is only read takes whole blocks of columns.
    pub(crate) fn random(dtype: DType, rows: usize, cols: usize, seed: u64) -> Self {
        let row_words = packed_row(dtype, cols);
        let mut weights = Self {
            q: vec![0; rows * row_words.q_words],
            s: vec![0; rows * row_words.s_words],
        };
        for row in 0..rows {
            let q = &mut weights.q[row * row_words.q_words..][..row_words.q_words];
            let s = &mut weights.s[row * row_words.s_words..][..row_words.s_words];
            let seed = seed * 1_000_003 + row as u64;
            pack_row(dtype, &file_row(dtype, cols, seed), cols, q, s);
        }
        weights
    }

    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed {
            q: &self.q,
            s: &self.s,
        }
    }
}

/// Rows in file layout, whole blocks, packed.
pub(crate) fn words_of_rows(dtype: DType, bytes: &[u8], rows: usize, cols: usize) -> Weights {
    let row_words = packed_row(dtype, cols);
    let mut weights = Weights {
        q: vec![0; rows * row_words.q_words],
        s: vec![0; rows * row_words.s_words],
    };
    for (row, bytes) in bytes.chunks_exact(bytes.len() / rows).enumerate() {
        let q = &mut weights.q[row * row_words.q_words..][..row_words.q_words];
        let s = &mut weights.s[row * row_words.s_words..][..row_words.s_words];
        pack_row(dtype, bytes, cols, q, s);
    }
    weights
}

/// A row in file layout.
fn file_row(dtype: DType, cols: usize, seed: u64) -> Vec<u8> {
    if can_quantize(dtype) {
        let mut bytes = vec![];
        quantize_row(dtype, &random(seed, cols), &mut bytes);
        return bytes;
    }
    let n_bytes = dtype.row_bytes(cols).expect("whole blocks");
    let mut bytes: Vec<u8> = random_words(seed, n_bytes)
        .map(|word| (word >> 32) as u8)
        .collect();
    // Where in a block the f16 scales are, and how large the values get that they multiply.
    let (scales, most): (&[usize], f32) = match dtype {
        DType::Q4_1 => (&[0, 2], 16.0),
        DType::Q5_0 => (&[0], 16.0),
        DType::Q4K => (&[0, 2], 63.0 * 15.0),
        DType::Q5K => (&[0, 2], 63.0 * 31.0),
        DType::Q6K => (&[208], 127.0 * 32.0),
        _ => unreachable!("{dtype} is written"),
    };
    let blocks = bytes.chunks_exact_mut(dtype.block_bytes());
    for (i, block) in blocks.enumerate() {
        let values = random(seed * 31 + i as u64, scales.len());
        for (&at, value) in scales.iter().zip(values) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value / most).to_le_bytes());
        }
    }
    bytes
}

/// Numbers of columns to try: for types that are written any multiple of 4, for the others whole blocks.
pub(crate) fn cols_grid(dtype: DType) -> &'static [usize] {
    match dtype.block_len() {
        256 => &[256, 512, 768],
        32 if !can_quantize(dtype) => &[32, 64, 160, 576],
        _ => &[4, 32, 36, 172, 576],
    }
}
