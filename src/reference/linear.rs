//! CPU twin of `shaders/matvec.wgsl`, `shaders/matmul.wgsl` and their like for software adapters.

use super::attention::merge;
use super::flatten_rows::integers;
use super::gated_act::activate;
use super::packed::Packed;
use crate::kernels::flatten_rows::row_words;
use crate::kernels::linear::{Arm, Form, Input, Output, Params};
use crate::kernels::quantize_rows::BLOCK_WORDS;
use crate::kernels::route::WORDS;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Multiplications that are worth a task of their own: about ten microseconds.
const TASK: usize = 1 << 14;

/// What a product reads besides its weight.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[rows, cols]`, or the records of an attention's splits, or the words of blocks of bytes.
    pub x: &'a [f32],
    /// One element for each of `y`'s columns (and twice as many with a gate), or unused.
    pub bias: &'a [f32],
    /// `[cols]` with [`Input::Norm`], else unused.
    pub gains: &'a [f32],
    /// A word a column of integers with [`Input::Flat`], else unused; see [`crate::graph::Flat::table`].
    pub table: &'a [u32],
    /// `[rows, y_cols]` with [`Output::Add`], else unused.
    pub residual: &'a [f32],
    /// `[rows, 4]` unless every row takes the weight, then unused; see `shaders/lib/routes.wgsl`.
    pub routes: &'a [u32],
}

/// `y[r, y_first + n] = out(dot(in(x[r, :]), w[n, :]) + bias[bias_first + n])`; see [`Input`], [`Output`] and [`Arm`].
///
/// `y`: `[rows, y_cols]`, of which only the columns from `y_first` on that these rows of `w` make are written, and
/// of these only the rows that take it. `latents`: `[rows, low_cols]` with [`Arm::Split`], else unused.
pub fn linear(
    form: Form,
    p: &Params,
    w: Packed<'_>,
    inputs: Inputs<'_>,
    y: &mut [f32],
    latents: &mut [f32],
) {
    let [outs, y_first, y_cols, half] = [p.outs, p.y_first, p.y_cols, p.half].map(|n| n as usize);
    let x = read(form, p, &inputs);
    let takes =
        |bits: u32, r: usize| form.arm == Arm::All || bits >> branch(p, &inputs, r) & 1 != 0;
    let is_low = |r: usize| form.arm == Arm::Split && branch(p, &inputs, r) == 1;
    let all = 0..p.rows as usize;
    let is_full = |r: &usize| takes(p.branches, *r) && !is_low(*r);
    let is_zero = |r: usize| form.arm != Arm::All && takes(p.zeros, r);
    let low: Vec<usize> = all.clone().filter(|&r| is_low(r)).collect();
    let rows: Vec<usize> = all
        .clone()
        .filter(is_full)
        .filter(|&r| !is_zero(r))
        .collect();
    let zero = all.filter(is_full).filter(|&r| is_zero(r));

    let columns = products(form, p, w, 0..outs, &x, &rows);
    let scales = scales(form, p, &inputs);
    let product = |n: usize, i: Option<usize>| match i {
        None => 0.0,
        Some(i) => {
            let bias = match p.has_bias {
                0 => 0.0,
                _ => f64::from(inputs.bias[p.bias_first as usize + n]),
            };
            columns[n * rows.len() + i] * scales.get(rows[i]).unwrap_or(&1.0) + bias
        }
    };
    let taken = rows.iter().enumerate().map(|(i, &r)| (r, Some(i)));
    for (r, i) in taken.chain(zero.map(|r| (r, None))) {
        let n_made = if form.output == Output::Gated {
            half
        } else {
            outs
        };
        let y = &mut y[r * y_cols + y_first..][..n_made];
        for (n, y) in y.iter_mut().enumerate() {
            *y = match form.output {
                Output::Plain => product(n, i),
                Output::Add => product(n, i) + f64::from(inputs.residual[r * y_cols + y_first + n]),
                Output::Gated => activate(product(n, i), p.gelu != 0) * product(half + n, i),
            } as f32;
        }
    }
    if !low.is_empty() {
        let [low_first, low_outs, low_cols] =
            [p.low_first, p.low_outs, p.low_cols].map(|n| n as usize);
        let columns = products(form, p, w, low_first..low_first + low_outs, &x, &low);
        for (i, r) in low.iter().enumerate() {
            for n in 0..low_outs {
                latents[r * low_cols + n] = columns[n * low.len() + i] as f32;
            }
        }
    }
}

/// What the integers of each row stand for with [`Input::Flat`]; nothing otherwise.
fn scales(form: Form, p: &Params, inputs: &Inputs<'_>) -> Vec<f64> {
    if form.input != Input::Flat {
        return vec![];
    }
    let row_words = row_words(p.blocks, p.extra_blocks) as usize;
    let rows = inputs.x.chunks_exact(row_words);
    rows.map(|row| f64::from(row[row_words - 1])).collect()
}

fn branch(p: &Params, inputs: &Inputs<'_>, r: usize) -> u32 {
    inputs.routes[r * WORDS as usize] >> (2 * p.is_ffn) & 3
}

/// Products of some rows of `w` with some of `x`: `[outs, rows]`, so that a row of `w` is decoded once and every task
/// writes its own part.
fn products(
    form: Form,
    p: &Params,
    w: Packed<'_>,
    outs: Range<usize>,
    x: &[f32],
    rows: &[usize],
) -> Vec<f64> {
    let cols = p.cols as usize;
    let mut columns = vec![0.0f64; outs.len() * rows.len()];
    if columns.is_empty() {
        return columns;
    }
    let sides = sides(form, p);
    columns
        .par_chunks_exact_mut(rows.len())
        .with_min_len(TASK.div_ceil(rows.len() * cols))
        .enumerate()
        .for_each_init(
            || vec![0.0; cols],
            |w_row, (n, column)| {
                w.row(form.dtype, outs.start + n, cols, w_row);
                let side = side_of(form, p, n);
                for (y, r) in column.iter_mut().zip(rows) {
                    *y = dot(&x[(r * sides + side) * cols..][..cols], w_row);
                }
            },
        );
    columns
}

/// Inputs of a row, one for each of the weights that read their own.
fn sides(form: Form, p: &Params) -> usize {
    match (form.input, form.output) {
        (Input::Latents, Output::Gated) => 2,
        (Input::Latents, _) => p.n_parts() as usize,
        _ => 1,
    }
}

/// The one that row `n` of the weights takes.
fn side_of(form: Form, p: &Params, n: usize) -> usize {
    let [first, next, half] = [p.first_outs, p.next_outs, p.half].map(|n| n as usize);
    match form.output {
        _ if sides(form, p) == 1 => 0,
        Output::Gated => n / half,
        _ if n < first => 0,
        _ => 1 + (n - first) / next,
    }
}

/// `x` as the product sees it: `[rows, cols]`, or `[rows, 2, cols]` for a gate and its like with inputs of their own.
fn read<'a>(form: Form, p: &Params, inputs: &Inputs<'a>) -> Cow<'a, [f32]> {
    let [rows, cols] = [p.rows, p.cols].map(|n| n as usize);
    match form.input {
        Input::Latents => {
            let width = cols * sides(form, p);
            let rows = inputs.x.chunks_exact(p.x_cols as usize).take(rows);
            let parts = rows.flat_map(|row| &row[p.x_first as usize..][..width]);
            parts.copied().collect::<Vec<f32>>().into()
        }
        Input::Plain => inputs.x[..rows * cols].into(),
        Input::Norm => {
            let mut normed = vec![0.0; rows * cols];
            let rows = normed
                .chunks_exact_mut(cols)
                .zip(inputs.x.chunks_exact(cols));
            for (normed, x) in rows {
                super::rms_norm::norm(x, inputs.gains, p.eps, normed);
            }
            normed.into()
        }
        Input::Merge => {
            let mut merged = vec![0.0; rows * cols];
            let n_heads = cols / p.head_dim as usize;
            let n_records = [p.n_splits, p.n_apart].map(|n| n as usize);
            merge(rows, n_records, n_heads, inputs.x, &mut merged);
            merged.into()
        }
        Input::Flat => {
            let mut values = vec![0.0; rows * cols];
            let words = bytemuck::cast_slice(inputs.x);
            let words = words.chunks_exact(row_words(p.blocks, p.extra_blocks) as usize);
            for (values, words) in values.chunks_exact_mut(cols).zip(words) {
                integers(words, inputs.table, p.blocks, values);
            }
            values.into()
        }
        Input::Int8 => {
            let mut values = vec![0.0; rows * cols];
            let row_words = (p.blocks * BLOCK_WORDS) as usize;
            let blocks = bytemuck::cast_slice(inputs.x).chunks_exact(row_words);
            for (values, blocks) in values.chunks_exact_mut(cols).zip(blocks) {
                super::quantize_rows::dequantize(blocks, values);
            }
            values.into()
        }
    }
}

/// Scalar product in eight sums side by side, which the compiler turns into vector instructions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f64; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let tail = a_tail.iter().zip(b_tail);
    sums.iter().sum::<f64>()
        + tail
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum::<f64>()
}
