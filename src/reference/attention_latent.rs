//! CPU twin of `shaders/attention_latent.wgsl`.

use super::cache_read;
use super::linear::dot;
use crate::kernels::attention::{Params, record_len, splits};
use crate::kernels::attention_latent::Form;
use crate::kernels::paths::Paths;
use crate::kernels::{PADDING, Row};

/// `z[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * c_v[t, :]`, `g = h / (n_heads /
/// n_kv_heads)`, over the latent rows `t` of row `r`'s sequence from position `max(0, position + 1 - window)` to its
/// own.
///
/// `rows`: `[rows]`, `q`: `[rows, n_heads, head_dim]`, `k`: `[n_sequences, n_kv_heads, n_ctx, head_dim]` behind
/// `k_first` rows, `c`: `[n_sequences, n_ctx, latent_cols]` with `c_v` from column `v_first` on, both in the words of
/// [`cache_read`], `paths`: `[n_sequences, n_positions]`, `y`: `[rows, n_splits, n_heads, v_cols + 4]`, the records of
/// [`record_len`].
#[expect(clippy::too_many_arguments, reason = "one a binding")]
pub fn attention_latent(
    form: Form,
    p: &Params,
    rows: &[Row],
    q: &[f32],
    k: &[u32],
    c: &[u32],
    paths: &[u32],
    y: &mut [f32],
) {
    let [n_heads, n_kv_heads, head_dim, n_splits] =
        [p.n_heads, p.n_kv_heads, p.head_dim, p.n_splits].map(|n| n as usize);
    let (v_first, v_cols) = (p.v_first as usize, p.v_cols as usize);
    let paths = Paths {
        words: paths,
        n_positions: p.n_positions,
    };
    let len = record_len(p.v_cols) as usize;
    for (i, q) in q.chunks_exact(head_dim).enumerate() {
        let (r, head) = (i / n_heads, i % n_heads);
        let Row { sequence, position } = rows[r];
        let mut keys = 0..0;
        if position != PADDING {
            let end = position + 1;
            keys = paths.n_latent(sequence, end.saturating_sub(p.window))
                ..paths.n_latent(sequence, end);
        }
        let record = |s: usize| ((r * n_splits + s) * n_heads + head) * len;
        let n_live = splits(keys.clone(), p.n_splits).count();
        if n_live == 0 {
            y[record(0)..][..len][v_cols..].fill(0.0);
        }
        for (s, keys) in splits(keys, p.n_splits).enumerate() {
            let at = |t: u32| sequence as usize * p.n_ctx as usize + t as usize;
            let (mut key, mut row) = (vec![0.0; head_dim], vec![0.0; p.latent_cols as usize]);
            let kv_head = sequence as usize * n_kv_heads + head / (n_heads / n_kv_heads);
            let first = p.k_first as usize * n_kv_heads + kv_head * p.n_ctx as usize;
            let score = |t: u32| {
                cache_read(form.keys, k, first + t as usize, &mut key);
                let score = f64::from(p.scale) * dot(q, &key);
                match f64::from(p.softcap) {
                    softcap if softcap > 0.0 => softcap * (score / softcap).tanh(),
                    _ => score,
                }
            };
            let scores: Vec<f64> = keys.clone().map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
            let mut z = vec![0.0f64; v_cols];
            for (t, score) in keys.zip(scores) {
                cache_read(form.latents, c, at(t), &mut row);
                for (z, &v) in z.iter_mut().zip(&row[v_first..]) {
                    *z += (score - most).exp() / sum * f64::from(v);
                }
            }
            let (result, state) = y[record(s)..][..len].split_at_mut(v_cols);
            for (result, z) in result.iter_mut().zip(z) {
                *result = z as f32;
            }
            state.copy_from_slice(&[most as f32, sum as f32, n_live as f32, 0.0]);
        }
    }
}
