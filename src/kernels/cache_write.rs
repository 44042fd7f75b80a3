//! Keys or values of a step's rows into the cache. See `shaders/cache_write.wgsl`.

/// Mirrors `Params` in `shaders/cache_write.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Columns of `x`: kv heads times head width, a multiple of 4.
    pub kv_dim: u32,
    /// Positions that the cache has for each sequence.
    pub n_ctx: u32,
    /// Unused.
    pub pad0: u32,
}

/// One invocation four elements.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [(params.kv_dim / 4).div_ceil(wg), params.rows, 1]
}
