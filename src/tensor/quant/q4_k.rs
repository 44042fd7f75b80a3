//! `Q4K`: 256 nibbles in eight sub-blocks, each with a 6-bit scale and minimum; value = `d * sc * q - dmin * m`.

use super::quads::Quads;
use super::{F16Bytes, f16_pair, f16_pair_values};
use bytemuck::{Pod, Zeroable};

/// A super-block of 256 elements; byte `32 i + l` of `qs` has element `64 i + l` low and element `64 i + 32 + l` high.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Block {
    scales: Scales,
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == 144 && align_of::<Block>() == 1);

impl super::Block for Block {
    const GROUPS: usize = 8;

    fn is_finite(&self) -> bool {
        self.scales.is_finite()
    }

    fn group(&self, g: usize, out: &mut [f32; 32]) {
        let (d, m) = self.scales.values(g);
        low_bits(&self.qs, g).values(out, |q| d * q - m);
    }

    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]) {
        for ((words, s), block) in q
            .as_chunks_mut::<32>()
            .0
            .iter_mut()
            .zip(s.as_chunks_mut().0)
            .zip(blocks)
        {
            for (g, words) in words.as_chunks_mut().0.iter_mut().enumerate() {
                *words = low_bits(&block.qs, g).nib32();
            }
            *s = block.scales.pack();
        }
    }

    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]) {
        let (d, m) = packed_scales(&s[4 * (g / 8)..], g % 8);
        Quads::from_nib32(&q[4 * g..]).values(out, |q| d * q - m);
    }
}

/// The low four bits of sub-block `g`.
pub(super) fn low_bits(qs: &[u8; 128], g: usize) -> Quads {
    Quads::from_bytes(&qs[32 * (g / 2)..][..32]).bits(4 * (g % 2), 4)
}

/// The head of a `Q4K` and a `Q5K` block.
///
/// Of the 12 bytes `packed`, for `j` = 0..4: byte `j` has scale `j` in its low 6 bits and the high 2 bits of scale
/// `j + 4` above; byte `4 + j` the same of the minima; byte `8 + j` the low 4 bits of scale `j + 4` and, above, of
/// minimum `j + 4`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Scales {
    d: F16Bytes,
    dmin: F16Bytes,
    packed: [u8; 12],
}

impl Scales {
    pub(super) fn is_finite(&self) -> bool {
        self.d.is_finite() && self.dmin.is_finite()
    }

    /// Scale and minimum of sub-block `j` as integers.
    fn integers(&self, j: usize) -> (u8, u8) {
        let p = &self.packed;
        if j < 4 {
            (p[j] & 0x3f, p[j + 4] & 0x3f)
        } else {
            (
                p[j + 4] & 0xf | p[j - 4] >> 2 & 0x30,
                p[j + 4] >> 4 | p[j] >> 2 & 0x30,
            )
        }
    }

    /// `d * sc` and `dmin * m` of sub-block `j`.
    pub(super) fn values(&self, j: usize) -> (f32, f32) {
        let (scale, min) = self.integers(j);
        (
            self.d.value() * f32::from(scale),
            self.dmin.value() * f32::from(min),
        )
    }

    /// The 4 words of the packed layout.
    pub(super) fn pack(&self) -> [u32; 4] {
        let mut words = [f16_pair(self.d, self.dmin), 0, 0, 0];
        for j in 0..8 {
            let (scale, min) = self.integers(j);
            let (scale, min) = (u32::from(scale), u32::from(min));
            words[1] |= (scale & 0xf) << (4 * j);
            words[2] |= (min & 0xf) << (4 * j);
            words[3] |= (scale >> 4) << (2 * j) | (min >> 4) << (16 + 2 * j);
        }
        words
    }
}

/// `d * sc` and `dmin * m` of sub-block `j` from the 4 words of the packed layout.
pub(super) fn packed_scales(words: &[u32], j: usize) -> (f32, f32) {
    let (d, dmin) = f16_pair_values(words[0]);
    let scale = words[1] >> (4 * j) & 0xf | (words[3] >> (2 * j) & 3) << 4;
    let min = words[2] >> (4 * j) & 0xf | (words[3] >> (16 + 2 * j) & 3) << 4;
    (d * scale as f32, dmin * min as f32)
}
