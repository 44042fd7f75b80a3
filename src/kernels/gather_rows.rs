//! The rows whose logits are asked for. See `shaders/gather_rows.wgsl`.

use super::bounds::{Bounds, n_bytes};

/// Mirrors `Params` in `shaders/gather_rows.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`.
    pub n_out: u32,
    /// Columns, a multiple of 4.
    pub cols: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
}

/// One invocation four elements.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [(params.cols / 4).div_ceil(wg), params.n_out, 1]
}

/// Bytes of `out_rows`, `x` and `y`.
pub fn needs(params: &Params, bounds: &Bounds) -> [u64; 3] {
    let Params { n_out, cols, .. } = *params;
    [
        n_bytes(&[n_out]),
        n_bytes(&[bounds.rows, cols]),
        n_bytes(&[n_out, cols]),
    ]
}
