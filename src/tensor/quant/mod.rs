//! Block formats: rows of numbers in files, and the same rows repacked for the GPU.
//!
//! A row is stored in a file as GGUF stores it (one file of this module a format) and on the GPU as two arrays of
//! 32-bit words: `w_q`, the quantised values, and `w_s`, the scales. [`pack_row`] moves bits and rounds nothing, so
//! [`unpack_row`] gives exactly what [`dequantize_row`] gives. Integer times scale is exact in f32 for every format
//! below (at most 23 significant bits), so a value has at most one rounding, whether or not it is computed with fma.
//!
//! # Packed layout
//!
//! `cols` is padded with zeros to the next multiple of 32 (256 for the formats with super-blocks, [`padded_cols`]);
//! every row of `w_q` is then a whole number of `vec4<u32>`. "Block" `b` is 32 neighbouring elements of a row
//! (`e` = 0..32 within it), "super-block" is 256. Word offsets count from the row's start, byte 0 and half 0 are the
//! low ones, f16 scales are raw bits (`unpack2x16float`).
//!
//! **Plain types** have no `w_s`. `F32`: a word an element. `F16`, `BF16`: element `2i` in the low half of word `i`,
//! `2i + 1` in the high half.
//!
//! **nib32**: 32 four-bit values in 4 words. Element `e` is in word `e / 8`; with `r = e % 8` it is the low nibble
//! of byte `r` for `r < 4`, else the high nibble of byte `r - 4`. So `word & 0x0f0f0f0f` is elements `8i..8i+4`
//! in bytes, `(word >> 4) & 0x0f0f0f0f` is elements `8i+4..8i+8`.
//!
//! **Fifth bits**: 32 bits in a word, element `e` at bit `8 * (e % 4) + e / 4`. So `(word >> k) & 0x01010101` is the
//! bits of elements `4k..4k+4` in bytes.
//!
//! **Scale pairs**: block `b`'s f16 scale is half `b % 2` of word `b / 2`; the row has `ceil(blocks / 2)` words.
//!
//! | format | `w_q` | `w_s` | value |
//! |---|---|---|---|
//! | `Q8_0` | 8 words a block: element `4i + j` is the signed byte `j` of word `i` | scale pairs | `d * q` |
//! | `Q4_0` | nib32 a block | scale pairs | `d * (q - 8)` |
//! | `Q4_1` | nib32 a block | a word a block: scale `d` low, minimum `m` high (f16) | `d * q + m` |
//! | `Q5_0` | nib32 a block | a word of fifth bits a block, then scale pairs | `d * (q - 16)` |
//! | `Q4K` | 8 nib32 a super-block | 4 words a super-block | `(d * sc) * q - dmin * m` |
//! | `Q5K` | 8 nib32 a super-block | 12 words a super-block: the 4 of `Q4K`, then 8 words of fifth bits | `(d * sc) * q - dmin * m` |
//! | `Q6K` | 48 words a super-block: 8 nib32, then 16 words of high bits | 5 words a super-block | `(d * sc) * (q - 32)` |
//!
//! **`Q4K`, `Q5K` scale words**, sub-blocks `j` = 0..8 of 32 elements: word 0 is `d` low, `dmin` high (f16); word 1
//! the low 4 bits of scale `j` at bits `4j`; word 2 the low 4 bits of minimum `j` at bits `4j`; word 3 the high 2
//! bits of scale `j` at bits `2j` and of minimum `j` at bits `16 + 2j`.
//!
//! **`Q6K` high bits**: block `b` of the super-block has words `2b` and `2b + 1` of the 16; element `e` is in the
//! word `e / 16` of the two, and `(word >> (2 * (e / 4 % 4))) & 0x03030303` is the bits of elements `4(e/4)..+4` in
//! bytes. **Scale words**: 4 words of signed bytes, sub-block `k` = 0..16 of 16 elements in byte `k % 4` of word
//! `k / 4`; then one word, `d` as f32 bits.

mod plain;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_k;
mod q6_k;
mod q8_0;
mod quads;

use super::DType;
use bytemuck::Pod;

/// Words of 32 bits that one packed row takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PackedRow {
    /// Words a row of the values `w_q`, a multiple of 4.
    pub q_words: usize,
    /// Words a row of the scales `w_s`, 0 for plain types.
    pub s_words: usize,
}

/// Columns of a packed row: `cols` up to the next multiple of 32 and of the block length.
pub const fn padded_cols(dtype: DType, cols: usize) -> usize {
    let block_len = dtype.block_len();
    cols.next_multiple_of(if block_len > 32 { block_len } else { 32 })
}

/// Words that a row of `cols` elements takes on the GPU.
pub const fn packed_row(dtype: DType, cols: usize) -> PackedRow {
    let groups = padded_cols(dtype, cols) / 32;
    let blocks = cols.div_ceil(dtype.block_len());
    let (bits, s_words) = match dtype {
        DType::F32 => (32, 0),
        DType::F16 | DType::BF16 => (16, 0),
        DType::Q8_0 => (8, blocks.div_ceil(2)),
        DType::Q4_0 => (4, blocks.div_ceil(2)),
        DType::Q4_1 => (4, blocks),
        DType::Q5_0 => (4, blocks + blocks.div_ceil(2)),
        DType::Q4K => (4, 4 * blocks),
        DType::Q5K => (4, 12 * blocks),
        DType::Q6K => (6, 5 * blocks),
    };
    PackedRow {
        q_words: groups * bits,
        s_words,
    }
}

/// Calls one associated function of the dtype's [`Format`].
macro_rules! format_of {
    ($dtype:expr, $function:ident($($arg:expr),*)) => {
        match $dtype {
            DType::F32 => plain::F32::$function($($arg),*),
            DType::F16 => plain::F16::$function($($arg),*),
            DType::BF16 => plain::BF16::$function($($arg),*),
            DType::Q8_0 => q8_0::Block::$function($($arg),*),
            DType::Q4_0 => q4_0::Block::$function($($arg),*),
            DType::Q4_1 => q4_1::Block::$function($($arg),*),
            DType::Q5_0 => q5_0::Block::$function($($arg),*),
            DType::Q4K => q4_k::Block::$function($($arg),*),
            DType::Q5K => q5_k::Block::$function($($arg),*),
            DType::Q6K => q6_k::Block::$function($($arg),*),
        }
    };
}

/// The values of a row in file layout; `out` is as long as the row has elements.
///
/// # Panics
/// Where `bytes` is not the whole blocks that `out.len()` elements take.
pub fn dequantize_row(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    check_bytes(dtype, bytes, out.len());
    format_of!(dtype, dequantize(bytes, out));
}

/// Whether [`quantize_row`] writes this type.
pub const fn can_quantize(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0
    )
}

/// Appends a row to `out` in file layout, the last block padded with zeros.
///
/// `F16` and `BF16` round to nearest even, `Q8_0` is bit for bit GGML's, `Q4_0` searches the scale with the least
/// squared error. A value beyond the range of f16 becomes infinite, there or as the block's scale; NaN stays NaN:
/// [`first_non_finite`] finds both.
///
/// # Panics
/// Where [`can_quantize`] is false.
pub fn quantize_row(dtype: DType, x: &[f32], out: &mut Vec<u8>) {
    match dtype {
        DType::F32 => plain::F32::quantize(x, out),
        DType::F16 => plain::F16::quantize(x, out),
        DType::BF16 => plain::BF16::quantize(x, out),
        DType::Q8_0 => quantize_blocks(x, out, q8_0::Block::quantize),
        DType::Q4_0 => quantize_blocks(x, out, q4_0::Block::quantize),
        DType::Q4_1 | DType::Q5_0 | DType::Q4K | DType::Q5K | DType::Q6K => {
            panic!("{dtype} is read, never written: ask can_quantize first")
        }
    }
}

/// Repacks a row of `cols` elements from file layout into the words of `w_q` and `w_s`; writes every word of both.
///
/// # Panics
/// Where `bytes` is not the whole blocks of `cols` elements, or `q` and `s` are not as long as [`packed_row`] says.
pub fn pack_row(dtype: DType, bytes: &[u8], cols: usize, q: &mut [u32], s: &mut [u32]) {
    check_bytes(dtype, bytes, cols);
    check_words(dtype, q.len(), s.len(), cols);
    format_of!(dtype, pack(bytes, q, s));
}

/// The values of a packed row; `out` has `cols` elements.
///
/// # Panics
/// Where `q` and `s` are not as long as [`packed_row`] says, or `out` is not `cols` long.
pub fn unpack_row(dtype: DType, q: &[u32], s: &[u32], cols: usize, out: &mut [f32]) {
    check_words(dtype, q.len(), s.len(), cols);
    assert_eq!(out.len(), cols, "values of a row");
    format_of!(dtype, unpack(q, s, out));
}

/// Index of the first element that is NaN or infinite, or of the first element of the first block with such a scale.
///
/// `bytes` is any number of whole blocks; bytes after the last whole one are not looked at.
pub fn first_non_finite(dtype: DType, bytes: &[u8]) -> Option<usize> {
    let bytes = &bytes[..bytes.len() - bytes.len() % dtype.block_bytes()];
    format_of!(dtype, first_non_finite(bytes))
}

/// Appends a row of whole blocks with one scale for all of them, in file layout: values are `scale * q`.
///
/// # Panics
/// Where `dtype` is neither `Q8_0` nor `Q4_0`, `q` no whole number of blocks, or an integer of `Q4_0` beyond -8..=7.
pub fn write_row(dtype: DType, scale: half::f16, q: &[i8], out: &mut Vec<u8>) {
    let (blocks, rest) = q.as_chunks::<32>();
    assert!(rest.is_empty(), "whole blocks");
    for block in blocks {
        out.extend(scale.to_le_bytes());
        match dtype {
            DType::Q8_0 => out.extend_from_slice(bytemuck::cast_slice(block)),
            DType::Q4_0 => out.extend((0..16).map(|i| {
                let [low, high] = [block[i], block[i + 16]].map(|q| {
                    assert!((-8..=7).contains(&q), "{q} is no nibble");
                    (q + 8) as u8
                });
                low | high << 4
            })),
            other => panic!("{other} has more than one scale and integers"),
        }
    }
}

/// Whether all blocks of a row in file layout have one scale, bit for bit.
///
/// # Panics
/// Where `dtype` is neither `Q8_0` nor `Q4_0`.
pub fn has_one_scale(dtype: DType, bytes: &[u8]) -> bool {
    assert!(matches!(dtype, DType::Q8_0 | DType::Q4_0), "{dtype}");
    let mut blocks = bytes.chunks_exact(dtype.block_bytes());
    let first = blocks.next();
    blocks.all(|block| first.is_none_or(|first| block[..2] == first[..2]))
}

fn check_bytes(dtype: DType, bytes: &[u8], cols: usize) {
    let n_bytes = cols.div_ceil(dtype.block_len()) * dtype.block_bytes();
    assert_eq!(
        bytes.len(),
        n_bytes,
        "bytes of a {dtype} row of {cols} elements"
    );
}

fn check_words(dtype: DType, q_words: usize, s_words: usize, cols: usize) {
    let row = PackedRow { q_words, s_words };
    assert_eq!(
        row,
        packed_row(dtype, cols),
        "words of a packed {dtype} row of {cols} elements"
    );
}

fn quantize_blocks<B: Pod>(x: &[f32], out: &mut Vec<u8>, quantize: impl Fn(&[f32; 32]) -> B) {
    let (whole, tail) = x.as_chunks::<32>();
    for block in whole {
        out.extend_from_slice(bytemuck::bytes_of(&quantize(block)));
    }
    if !tail.is_empty() {
        let mut block = [0.0; 32];
        block[..tail.len()].copy_from_slice(tail);
        out.extend_from_slice(bytemuck::bytes_of(&quantize(&block)));
    }
}

/// What a type does with a row; lengths are already checked.
trait Format {
    fn dequantize(bytes: &[u8], out: &mut [f32]);
    fn first_non_finite(bytes: &[u8]) -> Option<usize>;
    fn pack(bytes: &[u8], q: &mut [u32], s: &mut [u32]);
    fn unpack(q: &[u32], s: &[u32], out: &mut [f32]);
}

/// A block in file layout, one byte aligned so that any file's bytes can be viewed as blocks.
trait Block: Pod {
    /// Groups of 32 elements in a block.
    const GROUPS: usize;

    fn is_finite(&self) -> bool;

    /// Values of group `g` of this block.
    fn group(&self, g: usize, out: &mut [f32; 32]);

    /// Packs the blocks of a row.
    fn pack_blocks(blocks: &[Self], q: &mut [u32], s: &mut [u32]);

    /// Values of group `g` of a packed row.
    fn packed_group(q: &[u32], s: &[u32], g: usize, out: &mut [f32; 32]);
}

impl<B: Block> Format for B {
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let blocks: &[B] = bytemuck::cast_slice(bytes);
        fill(out, |g, values| {
            blocks[g / B::GROUPS].group(g % B::GROUPS, values)
        });
    }

    fn first_non_finite(bytes: &[u8]) -> Option<usize> {
        let blocks: &[B] = bytemuck::cast_slice(bytes);
        let block = blocks.iter().position(|block| !block.is_finite())?;
        Some(block * B::GROUPS * 32)
    }

    fn pack(bytes: &[u8], q: &mut [u32], s: &mut [u32]) {
        B::pack_blocks(bytemuck::cast_slice(bytes), q, s);
    }

    fn unpack(q: &[u32], s: &[u32], out: &mut [f32]) {
        fill(out, |g, values| B::packed_group(q, s, g, values));
    }
}

/// Fills `out` by groups of `N`, the last one as far as it goes.
fn fill<const N: usize>(out: &mut [f32], mut group: impl FnMut(usize, &mut [f32; N])) {
    let (whole, tail) = out.as_chunks_mut::<N>();
    let n_whole = whole.len();
    for (g, values) in whole.iter_mut().enumerate() {
        group(g, values);
    }
    if !tail.is_empty() {
        let mut values = [0.0; N];
        group(n_whole, &mut values);
        tail.copy_from_slice(&values[..tail.len()]);
    }
}

/// A little-endian f16, as blocks in files hold it.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
struct F16Bytes([u8; 2]);

impl F16Bytes {
    fn new(value: f32) -> Self {
        Self(half::f16::from_f32(value).to_le_bytes())
    }

    fn bits(self) -> u16 {
        u16::from_le_bytes(self.0)
    }

    fn value(self) -> f32 {
        f16_value(self.bits())
    }

    fn is_finite(self) -> bool {
        self.bits() & 0x7c00 != 0x7c00
    }
}

fn f16_value(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}

/// The word with two f16 in its halves.
fn f16_pair(low: F16Bytes, high: F16Bytes) -> u32 {
    u32::from(low.bits()) | u32::from(high.bits()) << 16
}

/// Values of the two f16 in a word, low half first.
fn f16_pair_values(word: u32) -> (f32, f32) {
    (f16_value(word as u16), f16_value((word >> 16) as u16))
}

/// Writes f16 scales two a word.
fn pack_scale_pairs<B>(blocks: &[B], scale: impl Fn(&B) -> F16Bytes, s: &mut [u32]) {
    for (word, pair) in s.iter_mut().zip(blocks.chunks(2)) {
        *word = f16_pair(
            scale(&pair[0]),
            pair.get(1).map_or(F16Bytes([0; 2]), &scale),
        );
    }
}

/// Scale of block `b` among scale pairs.
fn scale_of_pair(s: &[u32], b: usize) -> f32 {
    f16_value((s[b / 2] >> (16 * (b % 2))) as u16)
}
