//! Values and latents of a step's rows into the cache of a routed layer. See `shaders/cache_copy.wgsl`.

use super::CacheType;
use super::bounds::{Bounds, n_bytes, row_bytes};

/// How what is copied is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// The values of dense rows.
    pub values: CacheType,
    /// The latents of the others.
    pub latents: CacheType,
}

/// Mirrors `Params` in `shaders/cache_copy.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `qkv` and `latents`.
    pub rows: u32,
    /// Columns of `qkv`.
    pub qkv_cols: u32,
    /// How many of them, the last ones, are values.
    pub kv_dim: u32,
    /// Rows that the dense arena has for each sequence.
    pub n_ctx: u32,
    /// Rows that the latent arena has for each sequence.
    pub n_latent_ctx: u32,
    /// Positions that `paths` has for each sequence.
    pub n_positions: u32,
    /// Columns of `latents`; like all numbers of columns and the first ones a multiple of 4.
    pub latents_cols: u32,
    /// The column that `c_k` begins at.
    pub k_first: u32,
    /// Columns of `c_k`; 0 where keys are not latent.
    pub k_cols: u32,
    /// The column that `c_v` begins at.
    pub v_first: u32,
    /// Columns of `c_v`.
    pub v_cols: u32,
    /// Width of a head of the values.
    pub head_dim: u32,
}

/// Workgroups for the longer of a row's kinds.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    let cols = params.kv_dim.max(params.k_cols + params.v_cols);
    [cols.div_ceil(4 * wg), params.rows, 1]
}

/// Bytes of `rows`, `qkv`, `latents`, `paths`, of the latent arena and the values.
///
/// # Panics
/// Where columns are no whole blocks, or beyond the last.
pub fn needs(form: Form, params: &Params, bounds: &Bounds) -> Vec<(u32, u64)> {
    let Params {
        rows,
        qkv_cols,
        kv_dim,
        latents_cols,
        k_first,
        k_cols,
        v_first,
        v_cols,
        head_dim,
        ..
    } = *params;
    let is_within =
        |first: u32, n: u32| first.checked_add(n).is_some_and(|end| end <= latents_cols);
    assert!(
        is_within(k_first, k_cols)
            && is_within(v_first, v_cols)
            && (4..=qkv_cols).contains(&kv_dim),
        "{params:?}"
    );
    let quads = [
        qkv_cols,
        kv_dim,
        latents_cols,
        k_first,
        k_cols,
        v_first,
        v_cols,
        head_dim,
    ];
    let block = form.latents.block_len();
    assert!(
        quads.iter().all(|n| n % 4 == 0)
            && (4..=kv_dim).contains(&head_dim)
            && kv_dim % head_dim == 0
            && head_dim % form.values.block_len() == 0
            && k_cols % block == 0
            && v_cols % block == 0
            && v_cols > 0,
        "{params:?}"
    );
    let latent = bounds.arena_bytes(0, params.n_latent_ctx, k_cols + v_cols, form.latents);
    vec![
        (1, row_bytes(rows)),
        (2, n_bytes(&[rows, qkv_cols])),
        (3, n_bytes(&[rows, latents_cols])),
        (6, bounds.token_bytes(params.n_positions)),
        (8, latent),
        (9, bounds.arena_bytes(0, params.n_ctx, kv_dim, form.values)),
    ]
}
