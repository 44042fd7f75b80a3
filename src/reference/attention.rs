//! CPU twin of `shaders/attention.wgsl`.

use super::linear::dot;
use crate::kernels::{CacheType, PADDING, Row, attention::Params};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// `y[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * v[t, g, :]`, `g = h / (n_heads /
/// n_kv_heads)`, over the positions `t` of row `r`'s sequence from `max(0, position + 1 - window)` to its own.
///
/// `rows`: `[rows]`, `q`, `y`: `[rows, n_heads, head_dim]`, `k`, `v`: `[n_sequences, n_ctx, n_kv_heads, head_dim]` in
/// the words of [`super::cache_write`]. With `softcap > 0` a score `s` becomes `softcap * tanh(s / softcap)`. A
/// padding row has no keys: its output is zero.
pub fn attention(
    cache: CacheType,
    p: &Params,
    rows: &[Row],
    q: &[f32],
    k: &[u32],
    v: &[u32],
    y: &mut [f32],
) {
    let [n_heads, n_kv_heads, head_dim] = [p.n_heads, p.n_kv_heads, p.head_dim].map(|n| n as usize);
    let n = p.rows as usize * n_heads * head_dim;
    let heads = q[..n].par_chunks_exact(head_dim);
    let outputs = y[..n].par_chunks_exact_mut(head_dim);
    heads.zip(outputs).enumerate().for_each(|(i, (q, y))| {
        let (row, head) = (rows[i / n_heads], i % n_heads);
        if row.position == PADDING {
            y.fill(0.0);
            return;
        }
        let end = row.position + 1;
        let positions = end.saturating_sub(p.window) as usize..end as usize;
        let kv_head = head / (n_heads / n_kv_heads);
        let first = row.sequence as usize * p.n_ctx as usize;
        let mut cached = vec![0.0; head_dim];

        let mut weights = Vec::with_capacity(positions.len());
        for t in positions.clone() {
            load(cache, k, (first + t) * n_kv_heads + kv_head, &mut cached);
            let score = f64::from(p.scale) * dot(q, &cached);
            let softcap = f64::from(p.softcap);
            weights.push(if softcap > 0.0 {
                softcap * (score / softcap).tanh()
            } else {
                score
            });
        }
        let most = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for weight in &mut weights {
            *weight = (*weight - most).exp();
        }
        let sum: f64 = weights.iter().sum();

        let mut total = vec![0.0f64; head_dim];
        for (t, weight) in positions.zip(weights) {
            load(cache, v, (first + t) * n_kv_heads + kv_head, &mut cached);
            for (total, &v) in total.iter_mut().zip(&cached) {
                *total += weight / sum * f64::from(v);
            }
        }
        for (y, total) in y.iter_mut().zip(total) {
            *y = total as f32;
        }
    });
}

/// The `head`-th vector of a cache, counted over sequences, positions and heads.
fn load(cache: CacheType, words: &[u32], head: usize, out: &mut [f32]) {
    let n_words = out.len() * cache.n_bytes() / 4;
    let words = &words[head * n_words..][..n_words];
    match cache {
        CacheType::F32 => out.copy_from_slice(bytemuck::cast_slice(words)),
        CacheType::F16 => {
            bytemuck::cast_slice::<u32, half::f16>(words).convert_to_f32_slice(out);
        }
    }
}
