//! `y = act(gate) * up`. See `shaders/gated_act.wgsl`.

use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/gated_act.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x` and `y`.
    pub rows: u32,
    /// Groups of four elements in a row of `y`.
    pub quads: u32,
    /// 1 for GELU (tanh form), 0 for SiLU.
    pub gelu: u32,
    /// Unused.
    pub pad0: u32,
}

/// One invocation four elements.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    super::spread((params.rows * params.quads).div_ceil(wg))
}

/// Bytes of `x` and `y`.
pub fn needs(params: &Params) -> [u64; 2] {
    let Params { rows, quads, .. } = *params;
    [n_bytes(&[rows, quads, 8]), n_bytes(&[rows, quads, 4])]
}
