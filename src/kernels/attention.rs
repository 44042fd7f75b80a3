//! Causal attention of a step's rows over the cache of their sequences. See `shaders/lib/attention.wgsl`.
//!
//! Three kernels compute it: `attention` for few rows, `attention_tile` for many, and
//! `attention_lane` for devices that are a CPU in disguise.

use super::bounds::{Bounds, n_bytes, row_bytes};
use super::{CacheType, Capabilities, Shader, Slots};
use std::ops::Range;

/// What a row's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Where they lie; of two arenas the dense one is read.
    pub slots: Slots,
}

impl Form {
    /// Over a cache that has each row at its position.
    pub const fn plain(cache: CacheType) -> Self {
        Self {
            cache,
            slots: Slots::Positions,
        }
    }

    /// As variants of the shaders are named.
    pub(super) fn name(self) -> String {
        let routed = match self.slots {
            Slots::Positions => "",
            Slots::Paths => "_dense",
        };
        format!("{}{routed}", self.cache.name())
    }
}

/// Mirrors `Params` in `shaders/lib/attention.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `q`.
    pub rows: u32,
    /// Query heads in a row.
    pub n_heads: u32,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4, at most 512.
    pub head_dim: u32,
    /// Rows that the cache, or the arena of it that is read, has for each sequence.
    pub n_ctx: u32,
    /// Positions that a row sees, its own included; `u32::MAX` for all.
    pub window: u32,
    /// Multiplies the scores: 1 / sqrt(head_dim) as a rule.
    pub scale: f32,
    /// Bends scores into ±softcap (Gemma 2); 0 for none.
    pub softcap: f32,
    /// Most parts that a row's keys are split into, at least 1; with more than one, or with `n_apart`, `y`
    /// holds records, see [`record_len`].
    pub n_splits: u32,
    /// Records that others write behind those of the splits: those of keys in the other arena.
    pub n_apart: u32,
    /// Positions that `paths` has for each sequence; unused with [`Slots::Positions`].
    pub n_positions: u32,
    /// Rows of `k` before the arena: 0, or those of the dense one where the latent one lies behind it.
    pub k_first: u32,
    /// Columns of a latent row; with those below unused but by `attention_latent`.
    pub latent_cols: u32,
    /// The column of a latent row that its values begin at.
    pub v_first: u32,
    /// Columns of the values.
    pub v_cols: u32,
    /// 0, which no compiler can know: what is read only to have it near is taken times this.
    pub zero: u32,
}

/// Keys are split in tiles of so many.
pub const SPLIT_KEYS: u32 = 128;

/// The keys of each split that has some, for a row that sees `keys`: tiles of [`SPLIT_KEYS`], as many to each
/// split. A short context makes one split.
pub fn splits(keys: Range<u32>, n_splits: u32) -> impl Iterator<Item = Range<u32>> {
    let n_tiles = keys.len().div_ceil(SPLIT_KEYS as usize) as u32;
    let each = n_tiles.div_ceil(n_splits).max(1) * SPLIT_KEYS;
    keys.clone()
        .step_by(each as usize)
        .map(move |start| start..keys.end.min(start + each))
}

/// Elements of one split's record of one head, where `y` is `[rows, n_splits + n_apart, n_heads, record_len]`.
///
/// A record holds the split's own result, `head_dim` elements, then `max`, `sum`, `n_live` and 0: the maximum
/// of its scores, the sum of their exponentials above it, and how many splits of the row have keys. Records
/// beyond `n_live` are not written; that of split 0 has four zeros behind its result for a row without keys. Records
/// apart state `max` and `sum` each for itself, and four zeros where they have no keys. With
/// `weight_s = sum_s * exp(max_s - max of all max_s)` the row's result is
/// `sum of weight_s * result_s / sum of weight_s` over the `s < n_live` and those apart that have keys.
pub const fn record_len(head_dim: u32) -> u32 {
    head_dim + 4
}

/// From how many rows on the rows are taken in tiles.
const TILE_ROWS: u32 = 8;

/// The kernel that runs a call.
pub(super) fn kernel(params: &Params, capabilities: &Capabilities) -> &'static str {
    if capabilities.software && params.head_dim <= 128 {
        "attention_lane"
    } else if params.rows >= TILE_ROWS && params.n_splits == 1 && params.head_dim <= 256 {
        "attention_tile"
    } else {
        "attention"
    }
}

/// Constants of that kernel.
pub(super) fn constants(params: &Params, capabilities: &Capabilities) -> Vec<(&'static str, u32)> {
    let quads = params.head_dim / 4;
    let group = params.n_heads / params.n_kv_heads;
    match kernel(params, capabilities) {
        "attention_lane" => vec![("WG", 8), ("HEADS", group.min(4)), ("QUADS", quads)],
        "attention_tile" => {
            let wg = if params.rows <= 16 { 64 } else { 128 };
            vec![("WG", wg), ("QUADS", quads)]
        }
        _ => {
            // Eight queries of 512 elements would not fit in workgroup memory.
            let fours = if group > 4 && quads <= 64 { 2 } else { 1 };
            vec![("WG", 128), ("FOURS", fours), ("QUADS", quads)]
        }
    }
}

/// What tells the kernel's shapes apart: the width of a head, by the heads or rows of a workgroup.
pub(super) fn shape(params: &Params, capabilities: &Capabilities) -> String {
    let constants = constants(params, capabilities);
    let per_workgroup = constants.iter().find_map(|&(name, value)| match name {
        "HEADS" => Some(value),
        "FOURS" => Some(4 * value),
        _ => None,
    });
    let rows = constants[0].1 / 4;
    format!("{}x{}", params.head_dim, per_workgroup.unwrap_or(rows))
}

/// Workgroups of the kernel that a shader has.
pub(super) fn workgroups(params: &Params, shader: &Shader) -> [u32; 3] {
    let heads = match shader.kernel {
        "attention_tile" => {
            let rows = shader.constant("WG") / 4;
            return [params.n_heads, params.rows.div_ceil(rows), 1];
        }
        "attention_lane" => shader.constant("HEADS"),
        _ => 4 * shader.constant("FOURS"),
    };
    let n_chunks = (params.n_heads / params.n_kv_heads).div_ceil(heads);
    [params.n_kv_heads * n_chunks, params.n_splits, params.rows]
}

impl Params {
    /// Whether `y` holds records, not results.
    pub(crate) const fn has_records(&self) -> bool {
        self.n_splits > 1 || self.n_apart > 0
    }
}

/// Bytes of `rows`, `q`, `k`, `v`, of `paths` where it is read, and of `y`.
///
/// # Panics
/// Where the heads are no whole groups, or a head is wider than the workgroup memory.
pub fn needs(form: Form, params: &Params, bounds: &Bounds) -> Vec<(u32, u64)> {
    let Params {
        rows,
        n_heads,
        n_kv_heads,
        head_dim,
        n_ctx,
        n_splits,
        n_apart,
        ..
    } = *params;
    assert!(
        n_splits > 0 && n_kv_heads > 0 && n_heads > 0 && n_heads % n_kv_heads == 0,
        "{params:?}"
    );
    assert!(
        head_dim % 4 == 0 && (4..=512).contains(&head_dim),
        "{params:?}"
    );
    let kv_dim = n_kv_heads.saturating_mul(head_dim);
    let q = n_bytes(&[rows, n_heads, head_dim]);
    let cached = match form.slots {
        Slots::Positions => bounds.cache_bytes(n_ctx, kv_dim, form.cache),
        Slots::Paths => bounds.arena_bytes(0, n_ctx, kv_dim, form.cache),
    };
    let y = match params.has_records() {
        false => q,
        true => n_bytes(&[
            rows,
            n_splits.saturating_add(n_apart),
            n_heads,
            record_len(head_dim),
        ]),
    };
    let mut needs = vec![(1, row_bytes(rows)), (2, q), (3, cached), (4, cached)];
    if form.slots == Slots::Paths {
        needs.push((6, bounds.token_bytes(params.n_positions)));
    }
    needs.push((7, y));
    needs
}
