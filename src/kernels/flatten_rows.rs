//! Activations in signed bytes with one scale, for products of integers. See `shaders/flatten_rows.wgsl`.

use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/flatten_rows.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Columns of `x`, a multiple of 4.
    pub cols: u32,
    /// Blocks of 32 columns in a row, the last one filled up with zeros.
    pub blocks: u32,
    /// Blocks of 32 further copies of columns.
    pub extra_blocks: u32,
    /// What one stands for; 0 where each row has its own.
    pub scale: f32,
    /// One over `scale`.
    pub inverse: f32,
    /// 1 if rows are normed on their way in.
    pub has_norm: u32,
    /// Added to the mean square of a norm.
    pub eps: f32,
}

/// Words of a row of `y`: its bytes, and its scale.
pub const fn row_words(blocks: u32, extra_blocks: u32) -> u32 {
    (blocks + extra_blocks) * 8 + 1
}

/// One workgroup a row.
pub fn workgroups(params: &Params) -> [u32; 3] {
    super::spread(params.rows)
}

/// Bytes of `x`, the gains, the table and `y`.
///
/// # Panics
/// Where the blocks are not those of the columns.
pub fn needs(params: &Params) -> [u64; 4] {
    let Params {
        rows,
        cols,
        blocks,
        extra_blocks,
        has_norm,
        ..
    } = *params;
    assert!(
        rows > 0 && cols >= 4 && cols % 4 == 0 && cols.div_ceil(32) == blocks,
        "{params:?}"
    );
    let gains = if has_norm != 0 { cols } else { 4 };
    [
        n_bytes(&[rows, cols]),
        n_bytes(&[gains]),
        n_bytes(&[blocks + extra_blocks, 32]),
        n_bytes(&[rows, row_words(blocks, extra_blocks)]),
    ]
}
