//! CPU twin of `shaders/matvec.wgsl`, `shaders/matmul.wgsl` and their like for software adapters.

use super::attention::merge;
use super::gated_act::activate;
use super::packed::Packed;
use crate::kernels::linear::{Form, Input, Output, Params};
use crate::kernels::quantize_rows::BLOCK_WORDS;
use rayon::prelude::*;
use std::borrow::Cow;

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
    /// `[rows, y_cols]` with [`Output::Add`], else unused.
    pub residual: &'a [f32],
}

/// `y[r, y_first + n] = out(dot(in(x[r, :]), w[n, :]) + bias[bias_first + n])`; see [`Input`] and [`Output`].
///
/// `y`: `[rows, y_cols]`, of which only the columns from `y_first` on that these rows of `w` make are written.
pub fn linear(form: Form, p: &Params, w: Packed<'_>, inputs: Inputs<'_>, y: &mut [f32]) {
    let [rows, cols, outs, y_first, y_cols, half] =
        [p.rows, p.cols, p.outs, p.y_first, p.y_cols, p.half].map(|n| n as usize);
    if rows == 0 {
        return;
    }
    let x = read(form.input, p, &inputs);
    // [outs, rows], so that a weight row is decoded once and every task writes its own part.
    let mut columns = vec![0.0f64; outs * rows];
    columns
        .par_chunks_exact_mut(rows)
        .with_min_len(TASK.div_ceil(rows * cols))
        .enumerate()
        .for_each_init(
            || vec![0.0; cols],
            |w_row, (n, column)| {
                w.row(form.dtype, n, cols, w_row);
                let bias = match p.has_bias {
                    0 => 0.0,
                    _ => f64::from(inputs.bias[p.bias_first as usize + n]),
                };
                for (y, x) in column.iter_mut().zip(x.chunks_exact(cols)) {
                    *y = dot(x, w_row) + bias;
                }
            },
        );
    let product = |n: usize, r: usize| columns[n * rows + r];
    for (r, y) in y.chunks_exact_mut(y_cols).take(rows).enumerate() {
        let n_made = if form.output == Output::Gated {
            half
        } else {
            outs
        };
        for (n, y) in y[y_first..y_first + n_made].iter_mut().enumerate() {
            *y = match form.output {
                Output::Plain => product(n, r),
                Output::Add => product(n, r) + f64::from(inputs.residual[r * y_cols + y_first + n]),
                Output::Gated => activate(product(n, r), p.gelu != 0) * product(half + n, r),
            } as f32;
        }
    }
}

/// `x` as the product sees it: `[rows, cols]`.
fn read<'a>(input: Input, p: &Params, inputs: &Inputs<'a>) -> Cow<'a, [f32]> {
    let [rows, cols] = [p.rows, p.cols].map(|n| n as usize);
    match input {
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
