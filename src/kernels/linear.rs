//! `y = x · wᵀ + bias`: `matvec` for few rows, `matmul` for many, `matmul_private` in its place on
//! software adapters. See the shaders of these names.

/// Mirrors `Params` in `shaders/lib/linear.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x` and `y`.
    pub rows: u32,
    /// Columns of `x` and `w`, a multiple of 4.
    pub cols: u32,
    /// Blocks of 32 columns in a row of `w`, the last one filled up with zeros.
    pub blocks: u32,
    /// Rows of this part of `w`.
    pub outs: u32,
    /// The column of `y` that the first row of this part makes.
    pub y_first: u32,
    /// Columns of `y`.
    pub y_cols: u32,
    /// 1 if `bias` is added.
    pub has_bias: u32,
    /// Unused.
    pub pad0: u32,
}

/// From this many rows on, `matmul` reads each weight once for all of them.
pub const MATMUL_ROWS: u32 = 5;

/// Rows and outputs of the tile that a workgroup of `matmul` makes.
pub const TILE: u32 = 32;

/// `outs_per_wg` outputs a workgroup, one layer of workgroups a row.
pub fn matvec_workgroups(params: &Params, outs_per_wg: u32) -> [u32; 3] {
    let [x, y, _] = super::spread(params.outs.div_ceil(outs_per_wg));
    [x, y, params.rows]
}

/// One workgroup a tile of so many outputs and rows.
pub fn matmul_workgroups(params: &Params, outs: u32, rows: u32) -> [u32; 3] {
    [params.outs.div_ceil(outs), params.rows.div_ceil(rows), 1]
}
