//! CPU twin of `shaders/rms_norm.wgsl`.

use crate::kernels::rms_norm::Params;

/// `y[r, c] = x[r, c] / sqrt(mean(x[r, :]^2) + eps) * weight[c]`.
///
/// `x`, `y`: `[rows, cols]`, `weight`: `[cols]`.
pub fn rms_norm(p: &Params, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let cols = p.cols as usize;
    let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(cols));
    for (x, y) in rows.take(p.rows as usize) {
        norm(x, weight, p.eps, y);
    }
}

/// One row of [`rms_norm`].
pub(super) fn norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let mean_sq = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean_sq + f64::from(eps)).sqrt();
    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
        *y = (f64::from(x) * scale * f64::from(weight)) as f32;
    }
}
