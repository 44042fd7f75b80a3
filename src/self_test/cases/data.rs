//! What the cases' buffers hold.

use half::f16;

use super::{COLS, Case};
use crate::graph::Flat;
use crate::kernels::{Call, Row, linear};
use crate::tensor::DType;
use crate::tensor::quant::{can_quantize, pack_row, packed_row, quantize_row};

/// Every seventh column in three copies.
pub(super) fn flat(cols: u32) -> Flat {
    Flat {
        copies: (0..cols).map(|i| if i % 7 == 0 { 3 } else { 1 }).collect(),
        scale: None,
    }
}

/// Rows of a step, by sequence and position.
pub(super) fn rows(rows: &[(u32, u32)]) -> Vec<u32> {
    let row = |&(sequence, position): &(u32, u32)| Row { sequence, position };
    bytemuck::pod_collect_to_vec(&rows.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn zeros(n: usize) -> Vec<u32> {
    vec![0; n]
}

/// Bits of [`floats`].
pub(super) fn random(seed: u64, n: usize) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&floats(seed, n))
}

/// The same numbers on every machine, uniform in -1..1.
pub(super) fn floats(seed: u64, n: usize) -> Vec<f32> {
    let unit = |word: u64| (word >> 40) as f32 / (1u64 << 24) as f32;
    words(seed, n).map(|word| 2.0 * unit(word) - 1.0).collect()
}

/// xorshift64* (Vigna 2016).
pub(super) fn words(seed: u64, n: usize) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..n).map(move |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

/// Bindings 1 and 2 are a packed matrix of [`COLS`] columns; plain types have no scales.
pub(super) fn with_weight(
    call: Call,
    dtype: DType,
    n_rows: usize,
    rest: Vec<(u32, Vec<u32>)>,
) -> Case {
    let cols = COLS as usize;
    let row = packed_row(dtype, cols);
    let (mut q, mut s) = (vec![0; n_rows * row.q_words], vec![0; n_rows * row.s_words]);
    for i in 0..n_rows {
        let q = &mut q[i * row.q_words..][..row.q_words];
        let s = &mut s[i * row.s_words..][..row.s_words];
        pack_row(dtype, &file_row(dtype, cols, 100 + i as u64), cols, q, s);
    }
    let mut bindings = vec![(1, q)];
    if dtype.is_quantized() {
        bindings.push((2, s));
    }
    bindings.extend(rest);
    Case { call, bindings }
}

/// A row in file layout, its elements within about ±1.
fn file_row(dtype: DType, cols: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![];
    if can_quantize(dtype) {
        quantize_row(dtype, &floats(seed, cols), &mut bytes);
        return bytes;
    }
    let n_bytes = dtype.row_bytes(cols).expect("COLS are whole blocks");
    bytes.extend(words(seed, n_bytes).map(|word| (word >> 32) as u8));
    // Where in a block its f16 scales are, and the largest value that they multiply.
    let (scales, most): (&[usize], f32) = match dtype {
        DType::Q4_1 => (&[0, 2], 16.0),
        DType::Q4K => (&[0, 2], 63.0 * 15.0),
        DType::Q5K => (&[0, 2], 63.0 * 31.0),
        DType::Q6K => (&[208], 127.0 * 32.0),
        _ => (&[0], 16.0),
    };
    for (i, block) in bytes.chunks_exact_mut(dtype.block_bytes()).enumerate() {
        let values = floats(seed * 31 + i as u64, scales.len());
        for (&at, value) in scales.iter().zip(values) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value / most).to_le_bytes());
        }
    }
    bytes
}

/// What an attention's splits leave: two of three hold keys.
pub(super) fn records(n_rows: u32, p: &linear::Params) -> Vec<u32> {
    let record = p.head_dim as usize + 4;
    let n = (n_rows * p.n_splits * (p.cols / p.head_dim)) as usize;
    let mut values = floats(1, n * record);
    for record in values.chunks_exact_mut(record) {
        let [.., _, sum, n_live, _] = record else {
            unreachable!("a record ends with four numbers")
        };
        (*sum, *n_live) = (2.0 + *sum, 2.0);
    }
    bytemuck::pod_collect_to_vec(&values)
}
