//! `Q5K`: as `Q4K` with five-bit values; value = `d * sc * q - dmin * m`.

use super::q4_k::{Scales, low_bits, packed_scales};
use super::quads::Quads;
use bytemuck::{Pod, Zeroable};

/// A super-block of 256 elements; bit `j` of byte `l` of `qh` is the fifth bit of element `32 j + l`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    scales: Scales,
    qh: [u8; 32],
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == 176 && align_of::<Block>() == 1);

impl Block {
    fn quads(&self, g: usize) -> Quads {
        low_bits(&self.qs, g).with_high(Quads::from_bytes(&self.qh).bits(g, 1))
    }
}

impl super::Block for Block {
    const GROUPS: usize = 8;

    fn is_finite(&self) -> bool {
        self.scales.is_finite()
    }

    fn group(&self, g: usize, out: &mut [f32; 32]) {
        let (d, m) = self.scales.values(g);
        self.quads(g).values(out, |q| d * q - m);
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for ((words, s), block) in q
            .as_chunks_mut::<32>()
            .0
            .iter_mut()
            .zip(s.as_chunks_mut::<12>().0)
            .zip(blocks)
        {
            s[..4].copy_from_slice(&block.scales.pack());
            for (g, words) in words.as_chunks_mut().0.iter_mut().enumerate() {
                let quads = block.quads(g);
                *words = quads.nib32();
                s[4 + g] = quads.fifth_bits();
            }
        }
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let s = &s[12 * (g / 8)..];
        let (d, m) = packed_scales(s, g % 8);
        let quads = Quads::from_nib32(&q[4 * g..]).with_high(Quads::from_fifth_bits(s[4 + g % 8]));
        quads.values(out, |q| d * q - m);
    }
}
