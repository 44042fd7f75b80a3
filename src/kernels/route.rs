//! `route`: which branches the rows of a step take in a layer; see the shader of this name.

use super::bounds::{Bounds, n_bytes, row_bytes};
use super::{MAX_WORKGROUPS, Shader};

/// Words of a row in the routes; see `shaders/lib/routes.wgsl`.
pub const WORDS: u32 = 4;

/// Branches that a row may take: full, low-rank, skipped.
pub const N_BRANCHES: u32 = 3;

/// The branch of a padding row.
pub const NO_BRANCH: u32 = 3;

/// Rows of the largest step that can be routed.
pub const MAX_ROWS: u32 = 256;

/// Words of [`Settings`] before the forced branches of the layers.
pub const SETTINGS_WORDS: u32 = 8;

/// How branches are decided. Mirrors the head of `settings` in `shaders/route.wgsl`; behind it lies
/// a word for each layer, its forced branches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Settings {
    /// [`BY_ROUTER`], [`BY_LIST`] or [`BY_SHARES`].
    pub mode: u32,
    /// Of the hash that shares are drawn with.
    pub seed: u32,
    /// Added to the logit of the full attention.
    pub attention_offset: f32,
    /// Added to the logit of the full FFN.
    pub ffn_offset: f32,
    /// Rows whose hash is below it take the low-rank attention.
    pub attention_low: u32,
    /// Rows whose hash is below it take the low-rank FFN.
    pub ffn_low: u32,
    /// Rows whose hash is below it, and not below `ffn_low`, skip the FFN.
    pub ffn_skip: u32,
    /// Unused.
    pub pad0: u32,
}

/// The router decides.
pub const BY_ROUTER: u32 = 0;
/// A layer's word decides for all its rows.
pub const BY_LIST: u32 = 1;
/// A hash of layer and position decides.
pub const BY_SHARES: u32 = 2;

/// Mirrors `Params` in `shaders/lib/route.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of the step, at most [`MAX_ROWS`].
    pub rows: u32,
    /// Columns of `x`, a multiple of 4.
    pub cols: u32,
    /// Positions of a sequence in `paths`.
    pub n_ctx: u32,
    /// Which layer.
    pub layer: u32,
    /// Positions that the router does not decide: they take the full branches.
    pub dense_tokens: u32,
    /// 1 if the normed row goes through SiLU.
    pub silu: u32,
    /// 1 if the attention has a low-rank branch.
    pub has_low_attention: u32,
    /// 1 if the FFN has a low-rank branch.
    pub has_low_ffn: u32,
    /// 1 if rows on the low-rank branch of the attention are cached as any other.
    pub all_dense: u32,
    /// 1 if one workgroup decides for all rows and places them, 0 for a workgroup a row.
    pub places: u32,
    /// Added to the mean square of the norm.
    pub eps: f32,
    /// Unused.
    pub pad0: u32,
}

/// A workgroup a row, or one for all.
pub fn workgroups(params: &Params) -> [u32; 3] {
    let n = if params.places != 0 { 1 } else { params.rows };
    debug_assert!(n <= MAX_WORKGROUPS);
    [n, 1, 1]
}

/// One workgroup.
pub fn place_workgroups(_: &Params, _: &Shader) -> [u32; 3] {
    [1, 1, 1]
}

/// Bytes of `rows`, `x`, `gains`, `weight`, `bias`, `settings`, `routes` and `paths`.
///
/// # Panics
/// Where there are too many rows.
pub fn needs(params: &Params, bounds: &Bounds) -> [u64; 8] {
    let Params {
        rows,
        cols,
        n_ctx,
        layer,
        ..
    } = *params;
    assert!(
        (1..=MAX_ROWS).contains(&rows) && cols >= 4 && cols % 4 == 0,
        "{params:?}"
    );
    [
        row_bytes(rows),
        n_bytes(&[rows, cols]),
        n_bytes(&[cols]),
        n_bytes(&[crate::graph::N_LOGITS, cols]),
        n_bytes(&[crate::graph::N_LOGITS]),
        n_bytes(&[SETTINGS_WORDS + layer + 1]),
        n_bytes(&[rows, WORDS]),
        bounds.token_bytes(n_ctx),
    ]
}

/// Bytes of `rows`, `routes` and `paths` for the kernel that only places.
///
/// # Panics
/// Where there are too many rows.
pub fn place_needs(params: &Params, bounds: &Bounds) -> [u64; 3] {
    let [rows, .., routes, paths] = needs(params, bounds);
    [rows, routes, paths]
}

/// The branches of a position, from its word of `paths`: of the attention and of the FFN.
pub const fn branches(word: u32) -> (u32, u32) {
    ((word >> 24) & 1, (word >> 25) & 3)
}
