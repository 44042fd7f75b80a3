//! Heads of a step's rows: queries on to the attention, keys and values into the cache. See
//! `shaders/cache_write.wgsl`.

use super::bounds::{Bounds, n_bytes, row_bytes};
use super::{CacheType, Slots};

/// What is written where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Where they lie. With arenas only keys are written, those of latent rows too where `n_latent_ctx` is not 0;
    /// the rest is [`super::cache_copy`]'s.
    pub slots: Slots,
}

impl Form {
    /// Into a cache that has each row at its position.
    pub const fn plain(cache: CacheType) -> Self {
        Self {
            cache,
            slots: Slots::Positions,
        }
    }

    /// As variants of the shader are named.
    pub(super) fn name(self) -> String {
        let routed = match self.slots {
            Slots::Positions => "",
            Slots::Paths => "_paths",
        };
        format!("{}{routed}", self.cache.name())
    }
}

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
    /// Rows that the cache, or the dense arena of it, has for each sequence.
    pub n_ctx: u32,
    /// Dimensions of a query or key head that are rotated (Su et al. 2021); the others stay.
    pub rotary_dim: u32,
    /// 1 if pairs are neighbours (GGUF's Llama), 0 if they are half of `rotary_dim` apart (Hugging Face).
    pub interleaved: u32,
    /// 1 if query and key heads are normed first.
    pub has_norm: u32,
    /// Added to the mean square of a head.
    pub eps: f32,
    /// Positions that `paths` and the rotary table have for each sequence; unused with [`Slots::Positions`].
    pub n_positions: u32,
    /// Rows that the arena of latent rows' keys has for each sequence; 0 where they are not kept.
    pub n_latent_ctx: u32,
    /// Rows of `keys` before that arena: all of the dense one.
    pub k_first: u32,
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
pub fn workgroups(form: Form, params: &Params) -> [u32; 3] {
    let n_kinds = match form.slots {
        Slots::Positions => 2,
        Slots::Paths => 1,
    };
    [params.n_heads + n_kinds * params.n_kv_heads, params.rows, 1]
}

/// Bytes of `rows`, `table`, `qkv`, `q_norm`, `k_norm`, `q`, `keys` and `values`, or of `paths` before `q` and no
/// values.
///
/// # Panics
/// Where more of a head is rotated than there is.
pub fn needs(form: Form, params: &Params, bounds: &Bounds) -> Vec<(u32, u64)> {
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
    let n_positions = match form.slots {
        Slots::Positions => params.n_ctx.max(bounds.n_ctx),
        Slots::Paths => params.n_positions.max(bounds.n_ctx),
    };
    let table = match rotary_dim {
        0 => n_bytes(&[1]),
        _ => n_bytes(&[n_positions, rotary_dim]),
    };
    let gains = n_bytes(&[if params.has_norm == 0 { 1 } else { head_dim }]);
    let qkv = n_bytes(&[rows, n_heads + 2 * n_kv_heads, head_dim]);
    let q = n_bytes(&[rows, n_heads, head_dim]);
    let mut needs = vec![
        (1, row_bytes(rows)),
        (2, table),
        (3, qkv),
        (4, gains),
        (5, gains),
    ];
    let kv_dim = n_kv_heads * head_dim;
    match form.slots {
        Slots::Positions => {
            let cached = bounds.cache_bytes(params.n_ctx, kv_dim, form.cache);
            needs.extend([(7, q), (8, cached), (9, cached)]);
        }
        Slots::Paths => {
            let dense = bounds.arena_bytes(0, params.n_ctx, kv_dim, form.cache);
            let latent = match params.n_latent_ctx {
                0 => 0,
                n => bounds.arena_bytes(params.k_first, n, kv_dim, form.cache),
            };
            let paths = bounds.token_bytes(params.n_positions);
            needs.extend([(6, paths), (7, q), (8, dense.max(latent))]);
        }
    }
    needs
}
