//! `Q4_1`: 32 nibbles, a scale and a minimum; value = `d * q + m`.

use super::quads::Quads;
use super::{F16Bytes, f16_pair, f16_pair_values};
use bytemuck::{Pod, Zeroable};

/// A block of 32 elements; byte `i` has element `i` in its low nibble and element `i + 16` in its high one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: F16Bytes,
    m: F16Bytes,
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 20 && align_of::<Block>() == 1);

impl super::Block for Block {
    const GROUPS: usize = 1;

    fn is_finite(&self) -> bool {
        self.d.is_finite() && self.m.is_finite()
    }

    fn group(&self, _: usize, out: &mut [f32; 32]) {
        let (d, m) = (self.d.value(), self.m.value());
        Quads::from_gguf_nibbles(&self.qs).values(out, |q| d * q + m);
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for ((words, word), block) in q.as_chunks_mut().0.iter_mut().zip(s).zip(blocks) {
            *words = Quads::from_gguf_nibbles(&block.qs).nib32();
            *word = f16_pair(block.d, block.m);
        }
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let (d, m) = f16_pair_values(s[g]);
        Quads::from_nib32(&q[4 * g..]).values(out, |q| d * q + m);
    }
}
