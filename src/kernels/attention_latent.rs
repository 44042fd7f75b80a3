//! Attention of a step's rows over the latent rows of their sequences. See `shaders/attention_latent.wgsl`.
//!
//! Its `Params` are those of [`super::attention`]: `n_ctx` are the rows of the latent arena, `k_first` the rows
//! of `k` before it, and the values are `v_cols` columns from `v_first` on of rows of `latent_cols`. It makes
//! records of `v_cols + 4` elements, even where `n_splits` is 1; `n_apart` is 0.

use super::CacheType;
use super::attention::{Params, record_len};
use super::bounds::{Bounds, n_bytes, row_bytes};

/// How what is read is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// The keys, after rotation.
    pub keys: CacheType,
    /// The latents that stand for values.
    pub latents: CacheType,
}

/// Most columns of the values.
pub const MAX_V_COLS: u32 = 2048;

/// Constants of the shader.
pub(super) fn constants(params: &Params) -> Vec<(&'static str, u32)> {
    let per = (params.v_cols / 4).div_ceil(64).max(1);
    vec![("WG", 64), ("PER", per), ("QUADS", params.head_dim / 4)]
}

/// One workgroup a row, split and four query heads.
pub fn workgroups(params: &Params) -> [u32; 3] {
    let n_chunks = (params.n_heads / params.n_kv_heads).div_ceil(4);
    [params.n_kv_heads * n_chunks, params.n_splits, params.rows]
}

/// Bytes of `rows`, `q`, `k`, the latent rows, `paths` and `y`.
///
/// # Panics
/// Where the heads are no whole groups, or the columns no whole blocks.
pub fn needs(form: Form, params: &Params, bounds: &Bounds) -> Vec<(u32, u64)> {
    let Params {
        rows,
        n_heads,
        n_kv_heads,
        head_dim,
        n_ctx,
        n_splits,
        latent_cols,
        v_first,
        v_cols,
        ..
    } = *params;
    assert!(
        n_splits > 0 && n_kv_heads > 0 && n_heads > 0 && n_heads % n_kv_heads == 0,
        "{params:?}"
    );
    let block = form.latents.block_len().max(4);
    assert!(
        head_dim % 4 == 0
            && (4..=512).contains(&head_dim)
            && (4..=MAX_V_COLS).contains(&v_cols)
            && [latent_cols, v_first, v_cols]
                .iter()
                .all(|n| n % block == 0)
            && v_first
                .checked_add(v_cols)
                .is_some_and(|end| end <= latent_cols)
            && params.n_apart == 0,
        "{params:?}"
    );
    let kv_dim = n_kv_heads.saturating_mul(head_dim);
    vec![
        (1, row_bytes(rows)),
        (2, n_bytes(&[rows, n_heads, head_dim])),
        (
            3,
            bounds.arena_bytes(params.k_first, n_ctx, kv_dim, form.keys),
        ),
        (4, bounds.arena_bytes(0, n_ctx, latent_cols, form.latents)),
        (6, bounds.token_bytes(params.n_positions)),
        (7, n_bytes(&[rows, n_splits, n_heads, record_len(v_cols)])),
    ]
}
