//! CPU twin of `shaders/cache_write.wgsl`.

use crate::kernels::{CacheType, PADDING, Row, cache_write::Params};
use half::f16;

/// `cache[sequence of r, position of r, :] = x[r, :]`; a padding row writes nothing.
///
/// `rows`: `[rows]`, `x`: `[rows, kv_dim]`, `words`: `[n_sequences, n_ctx, kv_dim]`, each word the bits of an f32, or
/// of two f16, the first in the low half. Beyond the range of f16 the largest value of the sign is kept.
pub fn cache_write(cache: CacheType, p: &Params, rows: &[Row], x: &[f32], words: &mut [u32]) {
    let kv_dim = p.kv_dim as usize;
    let row_words = kv_dim * cache.n_bytes() / 4;
    let rows = rows[..p.rows as usize].iter().zip(x.chunks_exact(kv_dim));
    for (row, x) in rows.filter(|(row, _)| row.position != PADDING) {
        let at = row.sequence as usize * p.n_ctx as usize + row.position as usize;
        let words = &mut words[at * row_words..][..row_words];
        match cache {
            CacheType::F32 => {
                for (word, x) in words.iter_mut().zip(x) {
                    *word = x.to_bits();
                }
            }
            CacheType::F16 => {
                let (max, min) = (f16::MAX.to_f32(), f16::MIN.to_f32());
                let half = |x: f32| u32::from(f16::from_f32(x.clamp(min, max)).to_bits());
                for (word, &[low, high]) in words.iter_mut().zip(x.as_chunks().0) {
                    *word = half(low) | half(high) << 16;
                }
            }
        }
    }
}
