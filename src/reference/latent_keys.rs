//! CPU twin of `shaders/latent_keys.wgsl`.

use super::cache_read;
use super::cache_write::{norm, rotate, store};
use super::linear::dot;
use super::packed::Packed;
use crate::kernels::latent_keys::{Form, Params};
use crate::kernels::paths::Paths;
use crate::kernels::{PADDING, Row};

/// `k[s, t, g, :] = rope(norm(B_k[g, :, :] * c_k[s, t, :] + bias[g, :]), position of t)` for the latent rows `t` of
/// sequence `s` up to the last position that one of `rows` has there.
///
/// `w`: `B_k` in rows from `w_first` on, `[n_kv_heads * head_dim, k_cols]`, `rows`: `[rows]`, `c`: `[n_sequences, n_ctx,
/// latent_cols]` with `c_k` in its first columns, `table`: `[n_positions, rotary_dim / 2]` (cos, sin), `paths`:
/// `[n_sequences, n_positions]`, `vector`: the gains of the norm, `[head_dim]`, or the bias, `[n_kv_heads, head_dim]`, or
/// unused; `k`: `[n_sequences, n_kv_heads, n_ctx, head_dim]`.
#[expect(clippy::too_many_arguments, reason = "one a binding")]
pub fn latent_keys(
    form: Form,
    p: &Params,
    w: Packed<'_>,
    rows: &[Row],
    c: &[u32],
    table: &[[f32; 2]],
    paths: &[u32],
    vector: &[f32],
    k: &mut [u32],
) {
    let [n_kv_heads, head_dim, k_cols] = [p.n_kv_heads, p.head_dim, p.k_cols].map(|n| n as usize);
    let paths = Paths {
        words: paths,
        n_positions: p.n_positions,
    };
    let n_pairs = (p.rotary_dim / 2) as usize;
    let head_words = form.keys.row_bytes(head_dim as u64) as usize / 4;
    let (mut latents, mut w_row) = (vec![0.0; p.latent_cols as usize], vec![0.0; k_cols]);
    for sequence in 0..p.n_sequences {
        let ours = rows[..p.rows as usize].iter();
        let ours = ours.filter(|row| row.sequence == sequence && row.position != PADDING);
        let end = ours.map(|row| row.position + 1).max().unwrap_or(0);
        for position in (0..end).filter(|&t| paths.is_latent(sequence, t)) {
            let [sequence, n_ctx] = [sequence, p.n_ctx].map(|n| n as usize);
            let slot = paths.slot(sequence as u32, position) as usize;
            cache_read(form.latents, c, sequence * n_ctx + slot, &mut latents);
            for head in 0..n_kv_heads {
                let mut key = vec![0.0f64; head_dim];
                for (d, key) in key.iter_mut().enumerate() {
                    let n = head * head_dim + d;
                    w.row(form.dtype, p.w_first as usize + n, k_cols, &mut w_row);
                    *key = dot(&latents[..k_cols], &w_row);
                    if p.has_bias != 0 {
                        *key += f64::from(vector[p.bias_first as usize + n]);
                    }
                }
                if p.has_norm != 0 {
                    norm(&mut key, vector, p.eps);
                }
                let angles = &table[position as usize * n_pairs..][..n_pairs];
                rotate(p.interleaved != 0, angles, &mut key);
                let key: Vec<f32> = key.iter().map(|&x| x as f32).collect();
                let at = (sequence * n_kv_heads + head) * n_ctx + slot;
                let words = &mut k[at * head_words..][..head_words];
                store(form.keys, &key, words);
            }
        }
    }
}
