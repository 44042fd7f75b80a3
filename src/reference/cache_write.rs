//! CPU twin of `shaders/cache_write.wgsl`.

use crate::kernels::cache_write::{Form, Params};
use crate::kernels::paths::Paths;
use crate::kernels::{CacheType, PADDING, Row, Slots};
use half::{f16, slice::HalfFloatSliceExt};

/// Each head of `qkv`, queries and keys normed with `norms` where `has_norm` and rotated by their row's position:
/// queries into `q`, keys and values into the cache at their row's sequence and position.
///
/// `rows`: `[rows]`, `table`: `[n_ctx, rotary_dim / 2]` (cos, sin), `qkv`: `[rows, n_heads + 2 * n_kv_heads, head_dim]`,
/// query heads first, then key and value heads; `norms`: the gains of queries and of keys, `[head_dim]` or unused;
/// `q`: `[rows, n_heads, head_dim]`, `keys`, `values`: `[n_sequences, n_kv_heads, n_ctx, head_dim]` in the words of
/// [`cache_read`]. A padding row writes nothing into the cache; its queries are rotated as at position 0.
///
/// With [`Slots::Paths`], `paths`: `[n_sequences, n_positions]`, `keys` are the rows of the dense arena, `[n_sequences,
/// n_kv_heads, n_ctx, head_dim]`, and from row `k_first` on those of the latent one, `[n_sequences, n_kv_heads, n_latent_ctx, ..]`;
/// values are not written.
#[expect(clippy::too_many_arguments, reason = "one a binding")]
pub fn cache_write(
    form: Form,
    p: &Params,
    rows: &[Row],
    table: &[[f32; 2]],
    qkv: &[f32],
    norms: [&[f32]; 2],
    paths: &[u32],
    q: &mut [f32],
    keys: &mut [u32],
    values: &mut [u32],
) {
    let cache = form.cache;
    let [n_heads, n_kv_heads, head_dim] = [p.n_heads, p.n_kv_heads, p.head_dim].map(|n| n as usize);
    let head_words = cache.row_bytes(head_dim as u64) as usize / 4;
    let heads = n_heads + 2 * n_kv_heads;
    for (r, row) in rows[..p.rows as usize].iter().enumerate() {
        let is_padding = row.position == PADDING;
        let position = if is_padding { 0 } else { row.position as usize };
        for h in 0..heads {
            let x = &qkv[(r * heads + h) * head_dim..][..head_dim];
            let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            if h < n_heads + n_kv_heads {
                if p.has_norm != 0 {
                    norm(&mut x, norms[usize::from(h >= n_heads)], p.eps);
                }
                let n_pairs = (p.rotary_dim / 2) as usize;
                let angles = &table[position * n_pairs..][..n_pairs];
                rotate(p.interleaved != 0, angles, &mut x);
            }
            let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let (words, kv_head) = match h.checked_sub(n_heads) {
                None => {
                    q[(r * n_heads + h) * head_dim..][..head_dim].copy_from_slice(&x);
                    continue;
                }
                Some(h) if h < n_kv_heads => (&mut *keys, h),
                Some(h) if form.slots == Slots::Positions => (&mut *values, h - n_kv_heads),
                Some(_) => continue,
            };
            if is_padding {
                continue;
            }
            if let Some(at) = place(form, p, row, kv_head as u32, paths) {
                let at = at as usize * head_words;
                store(cache, &x, &mut words[at..][..head_words]);
            }
        }
    }
}

/// Where a head of a token's key is kept, counted in heads, if anywhere.
fn place(form: Form, p: &Params, row: &Row, kv_head: u32, paths: &[u32]) -> Option<u32> {
    let head = row.sequence * p.n_kv_heads + kv_head;
    if form.slots == Slots::Positions {
        return Some(head * p.n_ctx + row.position);
    }
    let paths = Paths {
        words: paths,
        n_positions: p.n_positions,
    };
    let slot = paths.slot(row.sequence, row.position);
    match paths.is_latent(row.sequence, row.position) {
        false => Some(head * p.n_ctx + slot),
        true if p.n_latent_ctx > 0 => Some(p.k_first * p.n_kv_heads + head * p.n_latent_ctx + slot),
        true => None,
    }
}

/// `x / sqrt(mean(x^2) + eps) * gains`.
pub(super) fn norm(x: &mut [f64], gains: &[f32], eps: f32) {
    let mean_sq = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean_sq + f64::from(eps)).sqrt();
    for (x, &gain) in x.iter_mut().zip(gains) {
        *x *= scale * f64::from(gain);
    }
}

/// Rotates pair `p` by `angles[p]`, given as (cos, sin). Pairs are `(p, p + rotary_dim / 2)`, or `(2p, 2p + 1)` where
/// `interleaved`.
pub(super) fn rotate(interleaved: bool, angles: &[[f32; 2]], x: &mut [f64]) {
    let n_pairs = angles.len();
    for (pair, angle) in angles.iter().enumerate() {
        let (a, b) = if interleaved {
            (2 * pair, 2 * pair + 1)
        } else {
            (pair, pair + n_pairs)
        };
        let [cos, sin] = angle.map(f64::from);
        (x[a], x[b]) = (x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin);
    }
}

/// A head in the words of [`cache_read`].
pub(super) fn store(cache: CacheType, x: &[f32], words: &mut [u32]) {
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
        CacheType::Q8 => {
            let blocks = words.as_chunks_mut::<9>().0.iter_mut();
            for (block, x) in blocks.zip(x.as_chunks::<32>().0) {
                let scale = x.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0;
                for (word, x) in block.iter_mut().zip(x.as_chunks::<4>().0) {
                    *word = u32::from_le_bytes(x.map(|x| nearest(x, scale) as i8 as u8));
                }
                block[8] = scale.to_bits();
            }
        }
        CacheType::Q4 => {
            let blocks = words.as_chunks_mut::<5>().0.iter_mut();
            for (block, x) in blocks.zip(x.as_chunks::<32>().0) {
                let least = x.iter().copied().fold(0.0, f32::min);
                let most = x.iter().copied().fold(0.0, f32::max);
                let scale = if most > -least { most } else { least } / -8.0;
                let nibble = |x: f32| (nearest(x, scale) + 8.0).clamp(0.0, 15.0) as u8;
                for (word, x) in block.iter_mut().zip(x.as_chunks::<8>().0) {
                    let bytes = std::array::from_fn(|i| nibble(x[i]) | nibble(x[i + 4]) << 4);
                    *word = u32::from_le_bytes(bytes);
                }
                block[4] = scale.to_bits();
            }
        }
    }
}

/// Reads the `head`-th vector of a cache, counted over sequences, heads and positions.
///
/// F32: a word is the bits of an element. F16: of two, the first in the low half; beyond its range the largest value
/// of the sign is kept. Q8: for each 32 elements 8 words of four signed bytes, then the bits of the scale, the
/// largest magnitude / 127. Q4: for each 32 elements 4 words of eight nibbles, 8 more than their integers: elements
/// `8i` to `8i + 3` in the low ones of word `i`'s bytes, `8i + 4` to `8i + 7` in the high ones; then the bits of the
/// scale, the value with the largest magnitude (of two that are equal the negative one) / -8.
///
/// # Panics
/// Where the cache has no such vector.
pub fn cache_read(cache: CacheType, words: &[u32], head: usize, out: &mut [f32]) {
    let n_words = cache.row_bytes(out.len() as u64) as usize / 4;
    let words = &words[head * n_words..][..n_words];
    match cache {
        CacheType::F32 => out.copy_from_slice(bytemuck::cast_slice(words)),
        CacheType::F16 => {
            bytemuck::cast_slice::<u32, half::f16>(words).convert_to_f32_slice(out);
        }
        CacheType::Q8 => {
            let blocks = out.as_chunks_mut::<32>().0.iter_mut();
            for (out, block) in blocks.zip(words.as_chunks::<9>().0) {
                let scale = f32::from_bits(block[8]);
                for (i, x) in out.iter_mut().enumerate() {
                    *x = scale * f32::from(block[i / 4].to_le_bytes()[i % 4] as i8);
                }
            }
        }
        CacheType::Q4 => {
            let blocks = out.as_chunks_mut::<32>().0.iter_mut();
            for (out, block) in blocks.zip(words.as_chunks::<5>().0) {
                let scale = f32::from_bits(block[4]);
                for (i, x) in out.iter_mut().enumerate() {
                    let byte = block[i / 8].to_le_bytes()[i % 4];
                    let nibble = (byte >> (i % 8 / 4 * 4)) & 15;
                    *x = scale * (f32::from(nibble) - 8.0);
                }
            }
        }
    }
}

/// The integer nearest to `x / scale`; 0 for a scale of 0.
fn nearest(x: f32, scale: f32) -> f64 {
    if scale == 0.0 {
        return 0.0;
    }
    (f64::from(x) / f64::from(scale)).round_ties_even()
}
