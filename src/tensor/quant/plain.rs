//! Types without scales: `F32`, `F16` and `BF16`.

use super::{Format, fill};
use half::slice::HalfFloatSliceExt;

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl F32 {
    pub(super) fn quantize(x: &[f32], out: &mut Vec<u8>) {
        out.extend(x.iter().flat_map(|x| x.to_le_bytes()));
    }
}

impl F16 {
    pub(super) fn quantize(x: &[f32], out: &mut Vec<u8>) {
        let mut halves = [half::f16::ZERO; CHUNK];
        for x in x.chunks(CHUNK) {
            // By slices, because `half` looks for the conversion instruction once a call.
            halves[..x.len()].convert_from_f32_slice(x);
            out.extend(halves[..x.len()].iter().flat_map(|half| half.to_le_bytes()));
        }
    }
}

impl BF16 {
    pub(super) fn quantize(x: &[f32], out: &mut Vec<u8>) {
        out.extend(
            x.iter()
                .flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()),
        );
    }
}

impl Format for F32 {
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(bytes);
        }
    }

    fn first_non_finite(bytes: &[u8]) -> Option<usize> {
        position(bytes, |bytes| !f32::from_le_bytes(bytes).is_finite())
    }

    fn pack(bytes: &[u8], q: &mut [u32], _: &mut [u32]) {
        pack_words(bytes, q);
    }

    fn unpack(q: &[u32], _: &[u32], out: &mut [f32]) {
        for (value, &word) in out.iter_mut().zip(q) {
            *value = f32::from_bits(word);
        }
    }
}

impl Format for F16 {
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        let bytes = bytes.as_chunks::<2>().0;
        fill(out, |g, values: &mut [f32; CHUNK]| {
            f16_values(values, |i| {
                bytes
                    .get(g * CHUNK + i)
                    .map_or(0, |&b| u16::from_le_bytes(b))
            });
        });
    }

    fn first_non_finite(bytes: &[u8]) -> Option<usize> {
        position(bytes, |bytes| u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00)
    }

    fn pack(bytes: &[u8], q: &mut [u32], _: &mut [u32]) {
        pack_words(bytes, q);
    }

    fn unpack(q: &[u32], _: &[u32], out: &mut [f32]) {
        fill(out, |g, values: &mut [f32; CHUNK]| {
            f16_values(values, |i| half_word(q, g * CHUNK + i))
        });
    }
}

impl Format for BF16 {
    fn dequantize(bytes: &[u8], out: &mut [f32]) {
        for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
        }
    }

    fn first_non_finite(bytes: &[u8]) -> Option<usize> {
        position(bytes, |bytes| u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80)
    }

    fn pack(bytes: &[u8], q: &mut [u32], _: &mut [u32]) {
        pack_words(bytes, q);
    }

    fn unpack(q: &[u32], _: &[u32], out: &mut [f32]) {
        for (i, value) in out.iter_mut().enumerate() {
            *value = f32::from_bits(u32::from(half_word(q, i)) << 16);
        }
    }
}

const CHUNK: usize = 32;

/// Element `i` of a row of 16-bit elements.
fn half_word(q: &[u32], i: usize) -> u16 {
    (q[i / 2] >> (16 * (i % 2))) as u16
}

fn f16_values(values: &mut [f32; CHUNK], bits: impl Fn(usize) -> u16) {
    let halves: [half::f16; CHUNK] = std::array::from_fn(|i| half::f16::from_bits(bits(i)));
    halves.convert_to_f32_slice(values);
}

/// Packed words of plain types are the file's bytes, then zeros.
fn pack_words(bytes: &[u8], q: &mut [u32]) {
    let (whole, tail) = bytes.as_chunks::<4>();
    let (words, padding) = q.split_at_mut(whole.len());
    for (word, &bytes) in words.iter_mut().zip(whole) {
        *word = u32::from_le_bytes(bytes);
    }
    padding.fill(0);
    if let &[low, high] = tail {
        padding[0] = u32::from_le_bytes([low, high, 0, 0]);
    }
}

/// Position of the first element that is bad, a page at a time: a page without one is checked without branches.
fn position<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const PAGE: usize = 1024;
    let elements = bytes.as_chunks::<N>().0;
    let page = elements
        .chunks(PAGE)
        .position(|page| page.iter().fold(false, |any, &e| any | bad(e)))?;
    let start = page * PAGE;
    Some(start + elements[start..].iter().position(|&e| bad(e))?)
}
