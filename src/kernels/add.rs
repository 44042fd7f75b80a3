//! `y = a + b`. See `shaders/add.wgsl`.

use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/add.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Groups of four elements.
    pub quads: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
    /// Unused.
    pub pad2: u32,
}

/// One invocation four elements.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    super::spread(params.quads.div_ceil(wg))
}

/// Bytes of `a`, `b` and `y`.
pub fn needs(params: &Params) -> [u64; 3] {
    [n_bytes(&[params.quads, 4]); 3]
}
