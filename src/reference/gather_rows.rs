//! CPU twin of `shaders/gather_rows.wgsl`.

use crate::kernels::gather_rows::Params;

/// `y[i, :] = x[out_rows[i], :]`; `out_rows`: `[n_out]`, `x`: `[rows, cols]`, `y`: `[n_out, cols]`.
pub fn gather_rows(p: &Params, out_rows: &[u32], x: &[f32], y: &mut [f32]) {
    let cols = p.cols as usize;
    let out_rows = &out_rows[..p.n_out as usize];
    for (y, &row) in y.chunks_exact_mut(cols).zip(out_rows) {
        y.copy_from_slice(&x[row as usize * cols..][..cols]);
    }
}
