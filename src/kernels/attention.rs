//! Causal attention of a step's rows over the cache of their sequences. See `shaders/attention.wgsl`.

/// Mirrors `Params` in `shaders/attention.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `q`.
    pub rows: u32,
    /// Query heads in a row.
    pub n_heads: u32,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Width of a head: a multiple of 4, at most 512.
    pub head_dim: u32,
    /// Positions that the cache has for each sequence.
    pub n_ctx: u32,
    /// Keys that a row sees, its own included; `u32::MAX` for all.
    pub window: u32,
    /// Multiplies the scores: 1 / sqrt(head_dim) as a rule.
    pub scale: f32,
    /// Bends scores into ±softcap (Gemma 2); 0 for none.
    pub softcap: f32,
}

/// One workgroup a row and query head.
pub fn workgroups(params: &Params) -> [u32; 3] {
    [params.n_heads, params.rows, 1]
}
