//! Keys of latent rows, made anew in each step from their latents. See `shaders/latent_keys.wgsl`.

use super::bounds::{Bounds, n_bytes, row_bytes};
use super::{CacheType, Shader};
use crate::tensor::DType;

/// What keys are made from, and how they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Format of `B_k`.
    pub dtype: DType,
    /// How the latents are stored.
    pub latents: CacheType,
    /// How the keys are.
    pub keys: CacheType,
}

/// Mirrors `Params` in `shaders/latent_keys.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of the step.
    pub rows: u32,
    /// Sequences of the session.
    pub n_sequences: u32,
    /// Key heads.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4, at most 512.
    pub head_dim: u32,
    /// Rows that the latent arena, and `k`, has for each sequence.
    pub n_ctx: u32,
    /// Positions that `paths` and the rotary table have for each sequence.
    pub n_positions: u32,
    /// Columns of a latent row.
    pub latent_cols: u32,
    /// Columns of `c_k`, the first ones of it, and of `B_k`: its rank.
    pub k_cols: u32,
    /// Blocks of 32 columns in a row of `B_k`, the last one filled up with zeros.
    pub blocks: u32,
    /// The first row of the weight that is `B_k`'s.
    pub w_first: u32,
    /// Dimensions of a head that are rotated.
    pub rotary_dim: u32,
    /// 1 if pairs are neighbours, 0 if they are half of `rotary_dim` apart.
    pub interleaved: u32,
    /// 1 if heads are normed; not together with `has_bias`.
    pub has_norm: u32,
    /// 1 if keys have a bias.
    pub has_bias: u32,
    /// Where it begins in the vector that it is a part of.
    pub bias_first: u32,
    /// Added to the mean square of a head.
    pub eps: f32,
}

/// Constants of the shader.
pub(super) fn constants(params: &Params) -> Vec<(&'static str, u32)> {
    let lanes = (params.head_dim / 4).next_power_of_two().max(8);
    vec![("WG", lanes.max(64)), ("LANES", lanes)]
}

/// Workgroups for as many latent rows as the arena can hold.
pub fn workgroups(params: &Params, shader: &Shader) -> [u32; 3] {
    let n_slots = shader.constant("WG") / shader.constant("LANES") * 4;
    [
        params.n_kv_heads,
        params.n_ctx.div_ceil(n_slots),
        params.n_sequences,
    ]
}

/// Rows of the weight that there must be.
pub(super) fn weight_rows(params: &Params) -> u32 {
    let kv_dim = params.n_kv_heads.saturating_mul(params.head_dim);
    params.w_first.saturating_add(kv_dim)
}

/// Bytes of `rows`, the latent rows, the table, `paths`, gains or bias, and of `k`.
///
/// # Panics
/// Where columns are no whole blocks or beyond the last, or more of a head is rotated than there is.
pub fn needs(form: Form, params: &Params, bounds: &Bounds) -> Vec<(u32, u64)> {
    let Params {
        n_sequences,
        n_kv_heads,
        head_dim,
        n_ctx,
        latent_cols,
        k_cols,
        rotary_dim,
        has_norm,
        has_bias,
        ..
    } = *params;
    let block = form.latents.block_len().max(4);
    assert!(
        [latent_cols, k_cols].iter().all(|n| n % block == 0)
            && k_cols >= 4
            && k_cols <= latent_cols
            && k_cols.div_ceil(32) <= params.blocks,
        "{params:?}"
    );
    assert!(
        head_dim % form.keys.block_len().max(4) == 0
            && (4..=512).contains(&head_dim)
            && rotary_dim <= head_dim
            && n_sequences <= bounds.n_sequences
            && (has_norm == 0 || has_bias == 0),
        "{params:?}"
    );
    let kv_dim = n_kv_heads * head_dim;
    let table = match rotary_dim {
        0 => n_bytes(&[1]),
        _ => n_bytes(&[params.n_positions.max(bounds.n_ctx), rotary_dim]),
    };
    let vector = match (has_norm, has_bias) {
        (0, 0) => 1,
        (0, _) => params.bias_first.saturating_add(kv_dim),
        _ => head_dim,
    };
    vec![
        (3, row_bytes(params.rows)),
        (4, bounds.arena_bytes(0, n_ctx, latent_cols, form.latents)),
        (5, table),
        (6, bounds.token_bytes(params.n_positions)),
        (7, n_bytes(&[vector])),
        (8, bounds.arena_bytes(0, n_ctx, kv_dim, form.keys)),
    ]
}
