//! CPU twin of `shaders/matvec.wgsl` and `shaders/matmul.wgsl`.

use super::packed::Packed;
use crate::kernels::linear::Params;
use crate::tensor::DType;
use rayon::prelude::*;

/// Multiplications that are worth a task of their own: about ten microseconds.
const TASK: usize = 1 << 14;

/// `y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n]`.
///
/// `w`: `[outs, cols]`, `x`: `[rows, cols]`, `bias`: `[y_cols]` or unused, `y`: `[rows, y_cols]`, of which only
/// the columns from `y_first` to `y_first + outs` are written.
pub fn linear(dtype: DType, p: &Params, w: Packed<'_>, x: &[f32], bias: &[f32], y: &mut [f32]) {
    let [rows, cols, outs, y_first, y_cols] =
        [p.rows, p.cols, p.outs, p.y_first, p.y_cols].map(|n| n as usize);
    if rows == 0 {
        return;
    }
    // [outs, rows], so that a weight row is decoded once and every task writes its own part.
    let mut columns = vec![0.0f32; outs * rows];
    columns
        .par_chunks_exact_mut(rows)
        .with_min_len(TASK.div_ceil(rows * cols))
        .enumerate()
        .for_each_init(
            || vec![0.0; cols],
            |w_row, (n, column)| {
                w.row(dtype, n, cols, w_row);
                let bias = if p.has_bias != 0 {
                    bias[y_first + n]
                } else {
                    0.0
                };
                for (y, x) in column.iter_mut().zip(x.chunks_exact(cols)) {
                    *y = (dot(x, w_row) + f64::from(bias)) as f32;
                }
            },
        );
    for (r, y) in y.chunks_exact_mut(y_cols).take(rows).enumerate() {
        for (n, y) in y[y_first..y_first + outs].iter_mut().enumerate() {
            *y = columns[n * rows + r];
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
