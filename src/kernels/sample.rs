//! Draws a token from each row of logits. See `shaders/sample.wgsl`.

use super::bounds::{Bounds, n_bytes, row_bytes};

/// Mirrors `Params` in `shaders/sample.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of logits.
    pub n_out: u32,
    /// Columns of logits.
    pub vocab_size: u32,
    /// Positions that `tokens` has for each sequence.
    pub n_ctx: u32,
    /// 1 if the token becomes its sequence's next one.
    pub write_next: u32,
}

/// How a sequence's tokens are drawn. Mirrors `Sampler` in `shaders/sample.wgsl`; what the fields
/// mean stands at `deputy::sampler::SamplerParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Sampler {
    /// 0 takes the likeliest token; no other value below `deputy::sampler::LEAST_TEMPERATURE`.
    pub temperature: f32,
    /// 0 for no limit.
    pub top_k: u32,
    /// 1 for no limit.
    pub top_p: f32,
    /// 0 for no limit.
    pub min_p: f32,
    /// 1 for none.
    pub repeat_penalty: f32,
    /// Low half of the seed.
    pub seed_low: u32,
    /// High half of the seed.
    pub seed_high: u32,
    /// Unused.
    pub pad0: u32,
}

/// In `sampled`, in place of a token: the logits held NaN or infinity.
pub const NOT_FINITE: u32 = u32::MAX;

/// One workgroup a row of logits.
pub fn workgroups(params: &Params) -> [u32; 3] {
    [params.n_out, 1, 1]
}

/// Bytes of `rows`, `out_rows`, `samplers`, `logits`, `tokens`, `scores` and `sampled`.
///
/// # Panics
/// Where there is no token to draw.
pub fn needs(params: &Params, bounds: &Bounds) -> [u64; 7] {
    let Params {
        n_out,
        vocab_size,
        n_ctx,
        ..
    } = *params;
    assert!(vocab_size > 0, "{params:?}");
    let logits = n_bytes(&[n_out, vocab_size]);
    [
        row_bytes(bounds.rows),
        n_bytes(&[n_out]),
        u64::from(bounds.n_sequences) * size_of::<Sampler>() as u64,
        logits,
        bounds.token_bytes(n_ctx),
        logits,
        n_bytes(&[n_out]),
    ]
}
