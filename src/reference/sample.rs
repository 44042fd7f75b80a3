//! CPU twin of `shaders/sample.wgsl`.

use crate::kernels::{
    PADDING, Row,
    sample::{NOT_FINITE, Params, Sampler},
};
use crate::sampler::{self, SamplerParams};

/// `sampled[i]` = the token drawn from `logits[i, :]` as [`crate::sampler`] defines it, with the tokens of its
/// sequence up to its row's position as history, or [`NOT_FINITE`]; also the next token where `write_next`.
///
/// `rows`: `[rows]`, `out_rows`, `sampled`: `[n_out]`, `samplers`: `[n_sequences]`, within the ranges of
/// [`SamplerParams::validate`], `logits`: `[n_out, vocab_size]`, `tokens`: `[n_sequences, n_ctx]`. A padding row draws
/// nothing.
pub fn sample(
    p: &Params,
    rows: &[Row],
    out_rows: &[u32],
    samplers: &[Sampler],
    logits: &[f32],
    tokens: &mut [u32],
    sampled: &mut [u32],
) {
    let outputs = out_rows[..p.n_out as usize].iter().zip(sampled);
    for ((&row, sampled), logits) in outputs.zip(logits.chunks_exact(p.vocab_size as usize)) {
        let Row { sequence, position } = rows[row as usize];
        if position == PADDING {
            continue;
        }
        let sequence = sequence as usize;
        let tokens = &mut tokens[sequence * p.n_ctx as usize..][..p.n_ctx as usize];
        let params = sampler_params(&samplers[sequence]);
        let (history, next) = tokens.split_at_mut(position as usize + 1);
        *sampled = sampler::sample(&params, logits, history, position).unwrap_or(NOT_FINITE);
        if let Some(next) = next.first_mut()
            && p.write_next != 0
            && *sampled != NOT_FINITE
        {
            *next = *sampled;
        }
    }
}

/// The sampler's settings from the device's.
pub fn sampler_params(sampler: &Sampler) -> SamplerParams {
    SamplerParams {
        temperature: sampler.temperature,
        top_k: sampler.top_k,
        top_p: sampler.top_p,
        min_p: sampler.min_p,
        repeat_penalty: sampler.repeat_penalty,
        seed: u64::from(sampler.seed_high) << 32 | u64::from(sampler.seed_low),
    }
}
