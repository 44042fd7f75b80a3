//! CPU twin of `shaders/latent_values.wgsl`.

use super::linear::dot;
use super::packed::Packed;
use crate::kernels::attention::record_len;
use crate::kernels::latent_values::Params;
use crate::tensor::DType;

/// `y[r, n_records - 1, h, :] = B_v[g, :, :] * z[r, h, :] + bias[g, :]`, `g = h / (n_heads / n_kv_heads)`, where `z[r, h,
/// :]` is what the splits of `z` merge to; behind it `max`, `sum`, 1 and 0 of all of them together.
///
/// `w`: `B_v` in rows from `w_first` on, `[n_kv_heads * head_dim, v_cols]`, `z`: `[rows, n_splits, n_heads, v_cols + 4]`,
/// `bias`: `[n_kv_heads, head_dim]` or unused, `y`: `[rows, n_records, n_heads, head_dim + 4]`. Of a row without latent
/// rows only four zeros are written.
pub fn latent_values(
    dtype: DType,
    p: &Params,
    w: Packed<'_>,
    z: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    let [rows, n_heads, head_dim, v_cols, n_splits] =
        [p.rows, p.n_heads, p.head_dim, p.v_cols, p.n_splits].map(|n| n as usize);
    let (z_len, y_len) = (
        record_len(p.v_cols) as usize,
        record_len(p.head_dim) as usize,
    );
    for i in 0..rows * n_heads {
        let (row, head) = (i / n_heads, i % n_heads);
        let record = |s: usize| {
            let at = (row * n_splits + s) * n_heads + head;
            z[at * z_len..][..z_len].split_at(v_cols)
        };
        let at = ((row + 1) * p.n_records as usize - 1) * n_heads + head;
        let (result, state) = y[at * y_len..][..y_len].split_at_mut(head_dim);
        let n_live = record(0).1[2] as usize;
        if n_live == 0 {
            state.fill(0.0);
            continue;
        }
        let most = (0..n_live).map(|s| record(s).1[0]).fold(f32::MIN, f32::max);
        let (mut merged, mut sum) = (vec![0.0f64; v_cols], 0.0);
        for (z, state) in (0..n_live).map(record) {
            let weight = f64::from(state[1]) * (f64::from(state[0]) - f64::from(most)).exp();
            sum += weight;
            for (merged, &z) in merged.iter_mut().zip(z) {
                *merged += weight * f64::from(z);
            }
        }
        let merged: Vec<f32> = merged.iter().map(|x| (x / sum) as f32).collect();
        let mut w_row = vec![0.0; v_cols];
        for (d, result) in result.iter_mut().enumerate() {
            let n = head / (n_heads / p.n_kv_heads as usize) * head_dim + d;
            w.row(dtype, p.w_first as usize + n, v_cols, &mut w_row);
            let bias = if p.has_bias == 0 {
                0.0
            } else {
                f64::from(bias[p.bias_first as usize + n])
            };
            *result = (dot(&merged, &w_row) + bias) as f32;
        }
        state.copy_from_slice(&[most, sum as f32, 1.0, 0.0]);
    }
}
