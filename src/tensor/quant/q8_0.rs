//! `Q8_0`: 32 signed bytes and a scale; value = `d * q`.

use super::{F16Bytes, pack_scale_pairs, scale_of_pair};
use bytemuck::{Pod, Zeroable};

/// A block of 32 elements.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: F16Bytes,
    qs: [i8; 32],
}

const _: () = assert!(size_of::<Block>() == 34 && align_of::<Block>() == 1);

impl Block {
    /// As GGML: the largest magnitude becomes 127, halves round away from zero.
    pub(super) fn quantize(x: &[f32; 32]) -> Self {
        // By bits, so that a NaN counts as the largest.
        let largest = x.iter().fold(0, |max, x| x.abs().to_bits().max(max));
        let d = f32::from_bits(largest) / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        Self {
            d: F16Bytes::new(d),
            qs: x.map(|x| round_away(x * inverse) as i8),
        }
    }
}

/// Nearest integer of a value below 2^22, halves away from zero: `f32::round` in instructions that vectorise.
fn round_away(x: f32) -> f32 {
    const EVEN: f32 = 8_388_608.0;
    let magnitude = x.abs();
    let even = (magnitude + EVEN) - EVEN;
    let up = if magnitude - even == 0.5 { 1.0 } else { 0.0 };
    (even + up).copysign(x)
}

impl super::Block for Block {
    const GROUPS: usize = 1;

    fn is_finite(&self) -> bool {
        self.d.is_finite()
    }

    fn group(&self, _: usize, out: &mut [f32; 32]) {
        let d = self.d.value();
        *out = self.qs.map(|q| d * f32::from(q));
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for (words, block) in q.as_chunks_mut::<8>().0.iter_mut().zip(blocks) {
            let bytes: &[u8; 32] = bytemuck::cast_ref(&block.qs);
            for (word, &bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u32::from_le_bytes(bytes);
            }
        }
        pack_scale_pairs(blocks, |block| block.d, s);
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let d = scale_of_pair(s, g);
        for (quad, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(&q[8 * g..]) {
            *quad = word.to_le_bytes().map(|q| d * f32::from(q as i8));
        }
    }
}
