//! How many layers are taken together.

use super::{Error, FitOptions, Moment, Regression};
use crate::model::Config;

/// As many of `n_layers` layers as the memory allows at a time, where each keeps the features of
/// `sample_len` tokens.
pub(super) fn group(
    config: &Config,
    options: &FitOptions,
    n_layers: u32,
    sample_len: usize,
) -> Result<u32, Error> {
    let (dim, ffn_dim) = (config.dim as usize, config.ffn_dim as usize);
    let q_dim = (config.n_heads * config.head_dim) as usize;
    let kv_dim = (config.n_kv_heads * config.head_dim) as usize;
    let moments = 2 * Moment::n_bytes(dim) + Moment::n_bytes(q_dim) + Moment::n_bytes(ffn_dim);
    let linears = 2 * q_dim * dim + 2 * kv_dim * dim + 3 * ffn_dim * dim;
    let routers = 4 * linears as u64 + Regression::n_bytes(dim);
    let layer = moments.max(routers);
    // The weight in f32 and f64, its outputs and a product as large, and squares of the smaller side.
    let largest = (dim * ffn_dim.max(q_dim)) as u64;
    let algebra = largest * (4 + 3 * 8) + 6 * 8 * (dim * dim) as u64;
    // The factors of all linears, and the sample.
    let spare = if options.allocate { 2.0 } else { 1.0 };
    let rank = (options.rank * spare).min(1.0) * dim as f64;
    let sides = 4 * dim + 2 * q_dim + 2 * kv_dim + 3 * (dim + ffn_dim);
    let kept = 4 * (rank as usize * sides + sample_len * dim) as u64 * u64::from(n_layers);
    let need = kept + algebra + layer;
    let limit = options.memory;
    if need > limit {
        return Err(Error::Memory { need, limit });
    }
    let more = (limit - need) / layer;
    Ok(u64::from(n_layers).min(1 + more) as u32)
}
