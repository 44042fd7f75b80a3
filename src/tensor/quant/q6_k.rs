//! `Q6K`: 256 six-bit values in sixteen sub-blocks with 8-bit scales; value = `d * sc * (q - 32)`.

use super::F16Bytes;
use super::quads::Quads;
use bytemuck::{Pod, Zeroable};

/// A super-block of 256 elements, two halves of 128.
///
/// Group `g` of 32 elements is in half `g / 4`: its low four bits are nibble `g / 2 % 2` of 32 bytes of `ql` that
/// start at `64 * (g / 4) + 32 * (g % 2)`, its high two bits are bits `2 * (g % 4)` of the half's 32 bytes of `qh`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    ql: [u8; 128],
    qh: [u8; 64],
    scales: [i8; 16],
    d: F16Bytes,
}

const _: () = assert!(size_of::<Block>() == 210 && align_of::<Block>() == 1);

impl Block {
    fn quads(&self, g: usize) -> Quads {
        let low = Quads::from_bytes(&self.ql[64 * (g / 4) + 32 * (g % 2)..][..32])
            .bits(4 * (g / 2 % 2), 4);
        low.with_high(Quads::from_bytes(&self.qh[32 * (g / 4)..][..32]).bits(2 * (g % 4), 2))
    }
}

impl super::Block for Block {
    const GROUPS: usize = 8;

    fn is_finite(&self) -> bool {
        self.d.is_finite()
    }

    fn group(&self, g: usize, out: &mut [f32; 32]) {
        values(
            self.quads(g),
            self.d.value(),
            [self.scales[2 * g], self.scales[2 * g + 1]],
            out,
        );
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for ((words, s), block) in q
            .as_chunks_mut::<48>()
            .0
            .iter_mut()
            .zip(s.as_chunks_mut::<5>().0)
            .zip(blocks)
        {
            let (low, high) = words.split_at_mut(32);
            for (g, (low, high)) in low
                .as_chunks_mut()
                .0
                .iter_mut()
                .zip(high.as_chunks_mut().0)
                .enumerate()
            {
                let quads = block.quads(g);
                *low = quads.nib32();
                *high = quads.high_pairs();
            }
            for (word, &scales) in s.iter_mut().zip(block.scales.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(scales.map(|scale| scale as u8));
            }
            s[4] = block.d.value().to_bits();
        }
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let (words, s, g) = (&q[48 * (g / 8)..], &s[5 * (g / 8)..], g % 8);
        let quads = Quads::from_nib32(&words[4 * g..])
            .with_high(Quads::from_high_pairs(&words[32 + 2 * g..]));
        let scale = |k: usize| (s[k / 4] >> (8 * (k % 4))) as i8;
        values(
            quads,
            f32::from_bits(s[4]),
            [scale(2 * g), scale(2 * g + 1)],
            out,
        );
    }
}

/// 32 values, a scale for each half of them.
fn values(quads: Quads, d: f32, scales: [i8; 2], out: &mut [f32; 32]) {
    quads.values(out, |q| q - 32.0);
    for (half, scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales) {
        let scale = d * f32::from(scale);
        *half = half.map(|q| scale * q);
    }
}
