//! `Q5_0`: 32 five-bit values and a scale; value = `d * (q - 16)`.

use super::quads::Quads;
use super::{F16Bytes, pack_scale_pairs, scale_of_pair};
use bytemuck::{Pod, Zeroable};

/// A block of 32 elements; bit `e` of `qh` (little-endian) is element `e`'s fifth bit, the low bits are as in `Q4_0`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    d: F16Bytes,
    qh: [u8; 4],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 22 && align_of::<Block>() == 1);

impl Block {
    fn quads(&self) -> Quads {
        let qh = u32::from_le_bytes(self.qh);
        // The product moves bit j of the four to bit 8j.
        let fifth = Quads(std::array::from_fn(|k| {
            ((qh >> (4 * k) & 0xf) * 0x0020_4081) & 0x0101_0101
        }));
        Quads::from_gguf_nibbles(&self.qs).with_high(fifth)
    }
}

impl super::Block for Block {
    const GROUPS: usize = 1;

    fn is_finite(&self) -> bool {
        self.d.is_finite()
    }

    fn group(&self, _: usize, out: &mut [f32; 32]) {
        let d = self.d.value();
        self.quads().values(out, |q| d * (q - 16.0));
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        let (fifth, scales) = s.split_at_mut(blocks.len());
        for ((words, fifth), block) in q.as_chunks_mut().0.iter_mut().zip(fifth).zip(blocks) {
            let quads = block.quads();
            *words = quads.nib32();
            *fifth = quads.fifth_bits();
        }
        pack_scale_pairs(blocks, |block| block.d, scales);
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let (fifth, scales) = s.split_at(q.len() / 4);
        let d = scale_of_pair(scales, g);
        let quads = Quads::from_nib32(&q[4 * g..]).with_high(Quads::from_fifth_bits(fifth[g]));
        quads.values(out, |q| d * (q - 16.0));
    }
}
