//! Products with weights.

use super::data::{flat, random, records, with_weight, words, zeros};
use super::{COLS, Case, route_case};
use crate::kernels::linear::{Arm, Form, Input, Output};
use crate::kernels::{Call, flatten_rows, linear, quantize_rows};
use crate::reference::run_call;
use crate::tensor::quant::padded_cols;

pub(super) fn linear_case(form: Form, n_rows: u32, call: fn(Form, linear::Params) -> Call) -> Case {
    let is_parts = form.arm == Arm::Parts;
    let outs: u32 = match form.output {
        Output::Gated => 74,
        _ if is_parts => 36,
        _ => 37,
    };
    let low_outs = if form.arm == Arm::Split { 12 } else { 0 };
    let params = linear::Params {
        x_first: 4,
        x_cols: 3 * COLS + 4,
        is_ffn: 1,
        branches: if is_parts { 0b010 } else { 0b111 },
        zeros: if is_parts { 0 } else { 0b100 },
        first_outs: if is_parts { 16 } else { 0 },
        next_outs: if is_parts { 10 } else { 0 },
        low_first: if low_outs > 0 { outs } else { 0 },
        low_outs,
        low_cols: low_outs,
        rows: n_rows,
        cols: COLS,
        blocks: (padded_cols(form.dtype, COLS as usize) / 32) as u32,
        outs,
        y_first: 2,
        y_cols: 41,
        has_bias: 1,
        bias_first: 3,
        half: 37,
        eps: 1e-5,
        head_dim: 96,
        n_splits: 3,
        extra_blocks: if form.input == Input::Flat {
            flat(COLS).extra_blocks()
        } else {
            0
        },
        ..Default::default()
    };
    let n_y = (n_rows * 41) as usize;
    let x = match form.input {
        Input::Merge => records(n_rows, &params),
        Input::Int8 => blocks_of_bytes(&params),
        Input::Flat => rows_of_bytes(&params),
        Input::Latents => random(1, (n_rows * params.x_cols) as usize),
        _ => random(1, (n_rows * COLS) as usize),
    };
    let mut rest = vec![(3, x), (4, random(2, 3 + outs as usize))];
    if form.input == Input::Norm {
        rest.push((5, random(4, COLS as usize)));
    }
    if form.input == Input::Flat {
        rest.push((5, flat(COLS).table()));
    }
    if form.output == Output::Add {
        rest.push((6, random(5, n_y)));
    }
    if form.arm != Arm::All {
        rest.push((7, routes(n_rows)));
    }
    rest.push((8, zeros(n_y)));
    if form.arm == Arm::Split {
        rest.push((9, zeros((n_rows * low_outs) as usize)));
    }
    let n_weights = (outs + low_outs) as usize;
    let mut case = with_weight(call(form, params), form.dtype, n_weights, rest);
    if form.input == Input::Flat {
        // A flattened weight has one scale a row, which is all that its product reads.
        let (_, scales) = &mut case.bindings[1];
        let n_words = scales.len() / n_weights;
        for row in scales.chunks_exact_mut(n_words) {
            row.fill((row[0] & 0xffff) * 0x1_0001);
        }
    }
    case
}

/// Rows of one sequence, on branches in turn, with the last one padding.
fn routes(n_rows: u32) -> Vec<u32> {
    let Case { call, bindings } = route_case(n_rows, false, Call::PlaceRows);
    let mut words: Vec<Vec<u32>> = bindings.into_iter().map(|(_, words)| words).collect();
    let (inputs, outputs) = words.split_at_mut(1);
    let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    run_call(&call, &[&inputs[0]], &mut outputs);
    outputs[0].to_vec()
}

/// Any bytes, and scales.
fn blocks_of_bytes(p: &linear::Params) -> Vec<u32> {
    let n = (p.rows * p.blocks * quantize_rows::BLOCK_WORDS) as usize;
    let mut blocks: Vec<u32> = words(1, n).map(|word| (word >> 32) as u32).collect();
    for block in blocks.chunks_exact_mut(quantize_rows::BLOCK_WORDS as usize) {
        block[8] = 0.01f32.to_bits();
    }
    blocks
}

/// Any bytes, and a scale a row.
fn rows_of_bytes(p: &linear::Params) -> Vec<u32> {
    let n = flatten_rows::row_words(p.blocks, p.extra_blocks) as usize;
    let mut rows: Vec<u32> = words(1, p.rows as usize * n)
        .map(|word| (word >> 32) as u32)
        .collect();
    for row in rows.chunks_exact_mut(n) {
        row[n - 1] = 0.01f32.to_bits();
    }
    rows
}
