//! Heads of a step's rows: queries on to the attention, keys and values into the cache. See
//! `shaders/cache_write.wgsl`.

use super::CacheType;
use super::bounds::{Bounds, n_bytes, row_bytes};

/// Mirrors `Params` in `shaders/cache_write.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `qkv`.
    pub rows: u32,
    /// Query heads in a row.
    pub n_heads: u32,
    /// Key heads, and as many value heads.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4, at most 512.
    pub head_dim: u32,
    /// Positions that the cache has for each sequence.
    pub n_ctx: u32,
    /// Dimensions of a query or key head that are rotated (Su et al. 2021); the others stay.
    pub rotary_dim: u32,
    /// 1 if pairs are neighbours (GGUF's Llama), 0 if they are half of `rotary_dim` apart (Hugging Face).
    pub interleaved: u32,
    /// 1 if query and key heads are normed first.
    pub has_norm: u32,
    /// Added to the mean square of a head.
    pub eps: f32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
    /// Unused.
    pub pad2: u32,
}

/// Constants of the shader: an invocation a quad of a head.
pub(super) fn constants(params: &Params) -> Vec<(&'static str, u32)> {
    // Where the pairs of a quad lie, see the shader.
    let pairs = match params.interleaved {
        0 if params.rotary_dim.is_multiple_of(8) => 1,
        0 => 0,
        _ => 2,
    };
    // Whole blocks of a quantised cache.
    let wg = (params.head_dim / 4).next_power_of_two().max(8);
    vec![("WG", wg), ("PAIRS", pairs)]
}

/// One workgroup a head of a row.
pub fn workgroups(params: &Params) -> [u32; 3] {
    [params.n_heads + 2 * params.n_kv_heads, params.rows, 1]
}

/// Bytes of `rows`, `table`, `qkv`, `q_norm`, `k_norm`, `q`, `keys` and `values`.
///
/// # Panics
/// Where more of a head is rotated than there is.
pub fn needs(params: &Params, cache: CacheType, bounds: &Bounds) -> [u64; 8] {
    let Params {
        rows,
        n_heads,
        n_kv_heads,
        head_dim,
        rotary_dim,
        ..
    } = *params;
    assert!(
        head_dim % 4 == 0 && (4..=512).contains(&head_dim) && rotary_dim <= head_dim,
        "{params:?}"
    );
    let n_positions = params.n_ctx.max(bounds.n_ctx);
    let table = match rotary_dim {
        0 => n_bytes(&[1]),
        _ => n_bytes(&[n_positions, rotary_dim]),
    };
    let gains = n_bytes(&[if params.has_norm == 0 { 1 } else { head_dim }]);
    let qkv = n_bytes(&[rows, n_heads + 2 * n_kv_heads, head_dim]);
    let q = n_bytes(&[rows, n_heads, head_dim]);
    let cached = bounds.cache_bytes(params.n_ctx, n_kv_heads * head_dim, cache);
    [row_bytes(rows), table, qkv, gains, gains, q, cached, cached]
}
