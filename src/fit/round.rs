//! A weight in integers with one scale: to the nearest ones, or by GPTQ.

use faer::linalg::matmul::matmul;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Accum, Mat, MatRef, Par, Side};
use half::f16;
use rayon::prelude::*;

use super::Error;

/// What GPTQ (Frantar et al. 2023) knows of an input: the order in which columns are rounded, those that matter most
/// first, and how the others make up for a column's rounding.
pub(super) struct Gptq {
    order: Vec<usize>,
    /// The upper factor of `(H + damping)⁻¹ = Uᵀ U`, in that order, row-major.
    u: Vec<f32>,
}

impl Gptq {
    /// Of an input's second moments H; `damping` is in parts of their mean.
    pub(super) fn new(tensor: &str, moment: &Mat<f64>, damping: f64) -> Result<Self, Error> {
        let n = moment.nrows();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| moment[(b, b)].total_cmp(&moment[(a, a)]));
        let mean = (0..n).map(|i| moment[(i, i)]).sum::<f64>() / n as f64;
        // A text that never moves an input leaves nothing to divide by.
        let added = if mean > 0.0 { damping * mean } else { 1.0 };
        // From the last column to the first: the lower factor L of that is the upper one R of H = R Rᵀ turned around,
        // and U = R⁻¹.
        let reversed = Mat::from_fn(n, n, |i, j| {
            let [a, b] = [i, j].map(|i| order[n - 1 - i]);
            moment[(a, b)] + if i == j { added } else { 0.0 }
        });
        let algebra = || Error::Algebra {
            tensor: tensor.to_owned(),
        };
        let llt = reversed.llt(Side::Lower).map_err(|_| algebra())?;
        let mut inverse = Mat::<f64>::zeros(n, n);
        invert_lower_triangular(inverse.as_mut(), llt.L(), Par::rayon(0));
        let mut u = vec![0.0; n * n];
        for i in 0..n {
            for j in i..n {
                u[i * n + j] = inverse[(n - 1 - i, n - 1 - j)] as f32;
            }
        }
        match u.iter().all(|u| u.is_finite()) {
            true => Ok(Self { order, u }),
            false => Err(algebra()),
        }
    }

    /// The integers of some rows of a weight with their scales; returns how far the outputs are off, `|(W - Ŵ) x|²` in
    /// the mean.
    fn round(&self, rows: &[f32], scales: &[f32], most: f32, q: &mut [i8]) -> f64 {
        let n = self.order.len();
        let mut w: Vec<f32> = vec![0.0; rows.len()];
        for (w, row) in w.chunks_exact_mut(n).zip(rows.chunks_exact(n)) {
            for (w, &at) in w.iter_mut().zip(&self.order) {
                *w = row[at];
            }
        }
        let mut off = 0.0;
        for (j, &at) in self.order.iter().enumerate() {
            let u = &self.u[j * n + j..(j + 1) * n];
            for (i, w) in w.chunks_exact_mut(n).enumerate() {
                let integer = nearest(w[j] / scales[i], most);
                q[i * n + at] = integer as i8;
                let error = (w[j] - integer * scales[i]) / u[0];
                // The factor is that of H⁻¹, so what is left of a column costs its square.
                off += f64::from(error) * f64::from(error);
                for (w, u) in w[j..].iter_mut().zip(u) {
                    *w -= error * u;
                }
            }
        }
        off
    }
}

/// A weight in integers.
pub(super) struct Rounded {
    /// Of each row; all the same where the tensor has one.
    pub(super) scales: Vec<f16>,
    /// `[rows, cols]`.
    pub(super) q: Vec<i8>,
    /// `E|W x - Ŵ x|² / E|W x|²` over the calibration text.
    pub(super) error: f64,
}

/// Rows that are rounded together, so that what is read of U serves them all.
const ROWS: usize = 8;

/// Rounds `w`, `[rows, cols]`, to integers within `±most`, with one scale in all or one `by_row`. `energy` is that of
/// its outputs.
pub(super) fn round(
    w: &[f32],
    moment: &Mat<f64>,
    energy: f64,
    gptq: Option<&Gptq>,
    most: i8,
    by_row: bool,
) -> Rounded {
    let cols = moment.nrows();
    let most = f32::from(most);
    let importance: Vec<f32> = (0..cols).map(|i| moment[(i, i)] as f32).collect();
    let scales = match by_row {
        true => w
            .par_chunks_exact(cols)
            .map(|row| scale(row, &importance, most))
            .collect(),
        false => vec![scale(w, &importance, most); w.len() / cols],
    };
    let values: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
    let mut q = vec![0; w.len()];
    let off = match gptq {
        Some(gptq) => q
            .par_chunks_mut(ROWS * cols)
            .zip(w.par_chunks(ROWS * cols))
            .zip(values.par_chunks(ROWS))
            .map(|((q, w), scales)| gptq.round(w, scales, most, q))
            .sum(),
        None => {
            let mut left = w.to_vec();
            q.par_chunks_mut(cols)
                .zip(left.par_chunks_mut(cols))
                .zip(&values)
                .for_each(|((q, w), scale)| {
                    for (q, w) in q.iter_mut().zip(w) {
                        let integer = nearest(*w / scale, most);
                        *q = integer as i8;
                        *w -= scale * integer;
                    }
                });
            output_energy(&left, moment)
        }
    };
    let error = off / energy.max(f64::MIN_POSITIVE);
    Rounded { scales, q, error }
}

/// `E|W x|²`, for W of `[rows, cols]` and inputs of these moments.
pub(super) fn output_energy(w: &[f32], moment: &Mat<f64>) -> f64 {
    let cols = moment.nrows();
    let rows = w.len() / cols;
    let w = MatRef::from_row_major_slice(w, rows, cols);
    let moment = Mat::<f32>::from_fn(cols, cols, |i, j| moment[(i, j)] as f32);
    let mut moved = Mat::<f32>::zeros(rows, cols);
    matmul(&mut moved, Accum::Replace, w, &moment, 1.0, Par::rayon(0));
    let column = |j: usize| -> f64 {
        let moved = moved.col_as_slice(j).iter();
        let parts = moved
            .enumerate()
            .map(|(i, m)| f64::from(w[(i, j)]) * f64::from(*m));
        parts.sum()
    };
    (0..cols).map(column).sum()
}

/// The scale with the least squared error of the nearest integers, columns weighted by how large their inputs are.
fn scale(w: &[f32], importance: &[f32], most: f32) -> f16 {
    let largest = w.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    if largest == 0.0 {
        return f16::MIN_POSITIVE;
    }
    let loss = |scale: f32| -> f64 {
        let rows = w.par_chunks(importance.len());
        rows.map(|row| loss(row, importance, scale, most)).sum()
    };
    // Clipping a few large weights serves all others; below a third it never does.
    let candidates = (0..=32).map(|i| f16::from_f32(largest / most * (1.0 - 0.02 * i as f32)));
    let best = candidates
        .map(|scale| scale.max(f16::MIN_POSITIVE))
        .map(|scale| (loss(scale.to_f32()), scale))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(f16::MIN_POSITIVE, |(_, scale)| scale)
}

/// The squared error of a row's nearest integers, columns weighted. This is what a search of scales spends its time
/// on, so the sums are as many as fill vectors.
fn loss(row: &[f32], importance: &[f32], scale: f32, most: f32) -> f64 {
    let mut sums = [0.0f32; 16];
    let inverse = 1.0 / scale;
    for (row, importance) in row.chunks(16).zip(importance.chunks(16)) {
        for ((sum, w), importance) in sums.iter_mut().zip(row).zip(importance) {
            let error = w - scale * nearest(w * inverse, most);
            *sum += importance * error * error;
        }
    }
    sums.into_iter().map(f64::from).sum()
}

/// The nearest integer within `±most`, the even one of two. `f32::round_ties_even` is a call where the target has no
/// instruction for it; what lies below 2^22 loses its fraction when 1.5 * 2^23 is added, and so all of it is two sums.
fn nearest(x: f32, most: f32) -> f32 {
    const SHIFT: f32 = 1.5 * (1u32 << 23) as f32;
    (x.max(-most).min(most) + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_to_even_and_within_its_bounds() {
        for i in -4000..4000 {
            let x = i as f32 / 16.0;
            assert_eq!(nearest(x, 127.0), x.round_ties_even().clamp(-127.0, 127.0));
        }
    }

    /// Inputs of which neighbours move together.
    fn moment(n: usize) -> Mat<f64> {
        Mat::from_fn(n, n, |i, j| 0.9f64.powi(i.abs_diff(j) as i32))
    }

    fn weight(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next() * next()).collect()
    }

    #[test]
    fn gptq_has_less_output_error_than_the_nearest_integers() {
        let (w, moment) = (weight(24 * 64), moment(64));
        let gptq = Gptq::new("w", &moment, 0.01).expect("a moment");
        let energy = output_energy(&w, &moment);
        let [by_gptq, nearest] =
            [Some(&gptq), None].map(|gptq| round(&w, &moment, energy, gptq, 7, false));
        let (found, error) = (by_gptq.error, nearest.error);
        assert!(found < 0.5 * error, "{found} of {error}");
        // Its error is the one that its integers have, but for what the damping adds.
        let left: Vec<f32> = w
            .iter()
            .zip(&by_gptq.q)
            .map(|(w, &q)| w - by_gptq.scales[0].to_f32() * f32::from(q))
            .collect();
        let real = output_energy(&left, &moment) / energy;
        assert!(found > real && found < 1.3 * real, "{found}, {real}");
    }

    #[test]
    fn without_correlation_gptq_takes_the_nearest_integers() {
        let (w, moment) = (weight(5 * 32), Mat::<f64>::identity(32, 32));
        let gptq = Gptq::new("w", &moment, 0.01).expect("a moment");
        let [by_gptq, nearest] =
            [Some(&gptq), None].map(|gptq| round(&w, &moment, 1.0, gptq, 7, true).q);
        assert_eq!(by_gptq, nearest);
    }
}
