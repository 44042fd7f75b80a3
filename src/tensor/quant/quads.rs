//! 32 small unsigned integers, one a byte of 8 words: the step between a block of a file and a packed one.

/// Word `k` holds elements `4k..4k+4`, element `4k + j` in byte `j`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quads(pub(super) [u32; 8]);

impl Quads {
    /// One element a byte, `bytes` 32 long.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        Self(std::array::from_fn(|k| u32::from_le_bytes(words[k])))
    }

    /// From the 16 bytes of a GGUF block of 32: byte `i` has element `i` low and element `i + 16` high.
    pub(super) fn from_gguf_nibbles(bytes: &[u8; 16]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        Self(std::array::from_fn(|k| {
            u32::from_le_bytes(words[k % 4]) >> (4 * (k / 4)) & 0x0f0f_0f0f
        }))
    }

    pub(super) fn from_nib32(words: &[u32]) -> Self {
        Self(std::array::from_fn(|k| {
            words[k / 2] >> (4 * (k % 2)) & 0x0f0f_0f0f
        }))
    }

    /// `width` bits of each byte from bit `shift` on.
    pub(super) fn bits(self, shift: usize, width: usize) -> Self {
        let mask = ((1 << width) - 1) * 0x0101_0101;
        Self(self.0.map(|word| word >> shift & mask))
    }

    /// Adds bits at 4 and above.
    pub(super) fn with_high(self, high: Quads) -> Self {
        Self(std::array::from_fn(|k| self.0[k] | high.0[k] << 4))
    }

    /// From a word of fifth bits: 0 or 1 an element.
    pub(super) fn from_fifth_bits(word: u32) -> Self {
        Self(std::array::from_fn(|k| word >> k & 0x0101_0101))
    }

    /// From the two words that hold two bits an element.
    pub(super) fn from_high_pairs(words: &[u32]) -> Self {
        Self(std::array::from_fn(|k| {
            words[k / 4] >> (2 * (k % 4)) & 0x0303_0303
        }))
    }

    /// The low four bits of each element.
    pub(super) fn nib32(self) -> [u32; 4] {
        let low = self.bits(0, 4).0;
        std::array::from_fn(|i| low[2 * i] | low[2 * i + 1] << 4)
    }

    /// Bit 4 of each element.
    pub(super) fn fifth_bits(self) -> u32 {
        let bits = self.bits(4, 1).0;
        (0..8).fold(0, |word, k| word | bits[k] << k)
    }

    /// Bits 4 and 5 of each element.
    pub(super) fn high_pairs(self) -> [u32; 2] {
        let bits = self.bits(4, 2).0;
        std::array::from_fn(|i| (0..4).fold(0, |word, k| word | bits[4 * i + k] << (2 * k)))
    }

    /// `value` of every element.
    pub(super) fn values(self, out: &mut [f32; 32], value: impl Fn(f32) -> f32) {
        for (quad, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *quad = word.to_le_bytes().map(|q| value(f32::from(q)));
        }
    }
}
