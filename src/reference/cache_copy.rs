//! CPU twin of `shaders/cache_copy.wgsl`.

use super::cache_write::store;
use crate::kernels::cache_copy::{Form, Params};
use crate::kernels::paths::Paths;
use crate::kernels::{CacheType, PADDING, Row};

/// Of each dense row its values, of each latent one `c_k` and `c_v`, into the cache.
///
/// `rows`: `[rows]`, `qkv`: `[rows, qkv_cols]`, the last `kv_dim` of them values; `latents`: `[rows, latents_cols]`,
/// `paths`: `[n_sequences, n_positions]`, `c`: `[n_sequences, n_latent_ctx, k_cols + v_cols]`, `values`: `[n_sequences,
/// kv_dim / head_dim, n_ctx, head_dim]`, both in the words of [`super::cache_read`]. A padding row writes nothing.
#[expect(clippy::too_many_arguments, reason = "one a binding")]
pub fn cache_copy(
    form: Form,
    p: &Params,
    rows: &[Row],
    qkv: &[f32],
    latents: &[f32],
    paths: &[u32],
    c: &mut [u32],
    values: &mut [u32],
) {
    let paths = Paths {
        words: paths,
        n_positions: p.n_positions,
    };
    let [k_first, k_cols, v_first, v_cols] =
        [p.k_first, p.k_cols, p.v_first, p.v_cols].map(|n| n as usize);
    let heads = qkv.chunks_exact(p.qkv_cols as usize);
    let latents = latents.chunks_exact(p.latents_cols as usize);
    for ((row, heads), latents) in rows[..p.rows as usize].iter().zip(heads).zip(latents) {
        let Row { sequence, position } = *row;
        if position == PADDING {
            continue;
        }
        let slot = paths.slot(sequence, position);
        let put = |cache: CacheType, x: &[f32], to: u32, words: &mut [u32]| {
            let n_words = cache.row_bytes(x.len() as u64) as usize / 4;
            store(cache, x, &mut words[to as usize * n_words..][..n_words]);
        };
        if paths.is_latent(sequence, position) {
            let x = [&latents[k_first..][..k_cols], &latents[v_first..][..v_cols]].concat();
            put(form.latents, &x, sequence * p.n_latent_ctx + slot, c);
            continue;
        }
        let heads = &heads[heads.len() - p.kv_dim as usize..];
        let n_heads = p.kv_dim / p.head_dim;
        for (head, x) in (0..).zip(heads.chunks_exact(p.head_dim as usize)) {
            let to = (sequence * n_heads + head) * p.n_ctx + slot;
            put(form.values, x, to, values);
        }
    }
}
