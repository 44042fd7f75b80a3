//! `Q4_0`: 32 nibbles and a scale; value = `d * (q - 8)`.

use super::quads::Quads;
use super::{F16Bytes, pack_scale_pairs, scale_of_pair};
use bytemuck::{Pod, Zeroable};

/// A block of 32 elements; byte `i` has element `i` in its low nibble and element `i + 16` in its high one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: F16Bytes,
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 18 && align_of::<Block>() == 1);

impl Block {
    /// The block with nearly the least squared error, never more than by GGML's rule (the largest magnitude at -8).
    ///
    /// Inverse scales from a grid about that rule are ranked by the error that is left after the best scale for their
    /// integers. The winner's best scale is rounded to f16 and its integers are taken anew; the rule's block stays
    /// where that is no better.
    pub(super) fn quantize(x: &[f32; 32]) -> Self {
        // By bits, so that a NaN counts as the largest.
        let largest = x.iter().fold(0.0f32, |a, &b| {
            if b.abs().to_bits() > a.abs().to_bits() {
                b
            } else {
                a
            }
        });
        let (mut best_gain, mut best_scale) = (0.0, 0.0);
        for level in LEVELS {
            let (xq, qq) = moments(x, level / largest);
            // The squared error left is the sum of x^2 less this.
            let gain = xq * xq / qq;
            if gain > best_gain {
                (best_gain, best_scale) = (gain, xq / qq);
            }
        }
        let (rule, rule_error) = Self::with_scale(x, largest / -8.0);
        let (fitted, fitted_error) = Self::with_scale(x, best_scale);
        if fitted_error < rule_error {
            fitted
        } else {
            rule
        }
    }

    /// The nearest integers for a scale, and the squared error of the block.
    fn with_scale(x: &[f32; 32], d: f32) -> (Self, f32) {
        let d = F16Bytes::new(d);
        let scale = d.value();
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let q = x.map(|x| nearest(x * inverse));
        let errors = std::array::from_fn(|i| scale * q[i] - x[i]);
        let qs = std::array::from_fn(|i| (q[i] + 8.0) as u8 | ((q[i + 16] + 8.0) as u8) << 4);
        (Self { d, qs }, dot(&errors, &errors))
    }
}

impl super::Block for Block {
    const GROUPS: usize = 1;

    fn is_finite(&self) -> bool {
        self.d.is_finite()
    }

    fn group(&self, _: usize, out: &mut [f32; 32]) {
        let d = self.d.value();
        Quads::from_gguf_nibbles(&self.qs).values(out, |q| d * (q - 8.0));
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for (words, block) in q.as_chunks_mut().0.iter_mut().zip(blocks) {
            *words = Quads::from_gguf_nibbles(&block.qs).nib32();
        }
        pack_scale_pairs(blocks, |block| block.d, s);
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let d = scale_of_pair(s, g);
        Quads::from_nib32(&q[4 * g..]).values(out, |q| d * (q - 8.0));
    }
}

/// Where the grid puts the largest magnitude: the eight levels that together do best on normal deviates, where their
/// error is 0.2 % above that of a fine grid of both signs and 11 % below the rule's.
const LEVELS: [f32; 8] = [-9.0, -8.65, -8.4, -8.2, -8.0, -7.8, -7.25, -6.9];

/// Sums of `x * q` and of `q * q` for the nearest integers `q` at an inverse scale.
fn moments(x: &[f32; 32], inverse: f32) -> (f32, f32) {
    let q = x.map(|x| nearest(x * inverse));
    (dot(x, &q), dot(&q, &q))
}

/// Inner product in eight partial sums, which vectorise.
fn dot(a: &[f32; 32], b: &[f32; 32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// The nearest integer of -8..=7.
fn nearest(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer in instructions that vectorise.
    const INTEGER: f32 = 12_582_912.0;
    (x.clamp(-8.0, 7.0) + INTEGER) - INTEGER
}
