//! `y = x / rms(x) * weight`, row by row. See `shaders/rms_norm.wgsl`.

use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/rms_norm.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`: tokens, or tokens times heads.
    pub rows: u32,
    /// Columns of `x`, a multiple of 4.
    pub cols: u32,
    /// Added to the mean square before the root.
    pub eps: f32,
    /// Unused.
    pub pad0: u32,
}

/// One workgroup a row.
pub fn workgroups(params: &Params) -> [u32; 3] {
    super::spread(params.rows)
}

/// Bytes of `x`, `weight` and `y`.
pub fn needs(params: &Params) -> [u64; 3] {
    let x = n_bytes(&[params.rows, params.cols]);
    [x, n_bytes(&[params.cols]), x]
}
