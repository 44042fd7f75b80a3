//! `y[r, :] = table[token of row r, :] * scale`. See `shaders/embed.wgsl`.

use super::bounds::{Bounds, n_bytes, row_bytes};

/// Mirrors `Params` in `shaders/embed.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of the step.
    pub rows: u32,
    /// Width of the table, a multiple of 4.
    pub cols: u32,
    /// Blocks of 32 columns in a row of the table.
    pub blocks: u32,
    /// Positions that `tokens` has for each sequence.
    pub n_ctx: u32,
    /// The token of the first row that this part of the table holds.
    pub first_token: u32,
    /// Rows that this part of the table holds.
    pub n_tokens: u32,
    /// Multiplies the embedding (Gemma; 1 elsewhere).
    pub scale: f32,
    /// Unused.
    pub pad0: u32,
}

/// One invocation a block of 32 columns.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [params.blocks.div_ceil(wg), params.rows, 1]
}

/// Bytes of `rows`, `tokens` and `y`, which follow the table. A token needs no bound: the shader
/// compares it with `n_tokens`.
///
/// # Panics
/// Where a block would lie behind the columns.
pub fn needs(params: &Params, bounds: &Bounds) -> [u64; 3] {
    assert!(params.blocks <= params.cols.div_ceil(32), "{params:?}");
    [
        row_bytes(params.rows),
        bounds.token_bytes(params.n_ctx),
        n_bytes(&[params.rows, params.cols]),
    ]
}
