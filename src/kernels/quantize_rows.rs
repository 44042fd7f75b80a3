//! Activations in blocks of signed bytes, for products of integers. See `shaders/quantize_rows.wgsl`.

use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/quantize_rows.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Columns of `x`, a multiple of 4.
    pub cols: u32,
    /// Blocks of 32 columns in a row, the last one filled up with zeros.
    pub blocks: u32,
    /// Unused.
    pub pad0: u32,
}

/// Words that a block takes: 32 bytes and the scale.
pub const BLOCK_WORDS: u32 = 9;

/// One invocation a block.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [params.blocks.div_ceil(wg), params.rows, 1]
}

/// Bytes of `x` and `y`.
///
/// # Panics
/// Where the blocks are not those of the columns.
pub fn needs(params: &Params) -> [u64; 2] {
    let Params {
        rows, cols, blocks, ..
    } = *params;
    assert!(
        cols >= 4 && cols % 4 == 0 && cols.div_ceil(32) == blocks,
        "{params:?}"
    );
    [
        n_bytes(&[rows, cols]),
        n_bytes(&[rows, blocks, BLOCK_WORDS]),
    ]
}
