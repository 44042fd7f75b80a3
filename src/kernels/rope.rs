//! Rotary position embedding (Su et al. 2021), from a table of cosines and sines. See `shaders/rope.wgsl`.

/// Mirrors `Params` in `shaders/rope.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Heads in a row.
    pub n_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Dimensions of a head that are rotated; the others are copied.
    pub rotary_dim: u32,
    /// 1 if pairs are neighbours (GGUF's Llama), 0 if they are half of `rotary_dim` apart (Hugging Face).
    pub interleaved: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
    /// Unused.
    pub pad2: u32,
}

/// One invocation a pair of dimensions.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [
        (params.n_heads * params.head_dim / 2).div_ceil(wg),
        params.rows,
        1,
    ]
}
