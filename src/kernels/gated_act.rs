//! `y = act(gate) * up`. See `shaders/gated_act.wgsl`.

/// Mirrors `Params` in `shaders/gated_act.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Groups of four elements.
    pub quads: u32,
    /// 1 for GELU (tanh form), 0 for SiLU.
    pub gelu: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
}

/// One invocation four elements.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    super::spread(params.quads.div_ceil(wg))
}
