//! Block formats against the `gguf` package, and the packed layout against its description.

use deputy::tensor::DType;
use deputy::tensor::quant::{
    PackedRow, can_quantize, dequantize_row, first_non_finite, pack_row, packed_row, padded_cols,
    quantize_row, unpack_row,
};
use half::f16;
use safetensors::SafeTensors;

/// Words that a packing must overwrite.
const DIRT: u32 = 0xdead_beef;

/// Made by `make.py` next to it.
const GOLDEN: &[u8] = include_bytes!("data/quant/quant.safetensors");

#[test]
fn file_layouts_decode_as_the_gguf_package_decodes_them() {
    let golden = golden();
    for dtype in DType::ALL {
        let (bytes, n_bytes) = rows(&golden, dtype, "bytes");
        let expected = f32_rows(&golden, &format!("{dtype}.values"));
        for (row, (bytes, expected)) in bytes.chunks(n_bytes).zip(&expected).enumerate() {
            let values = dequantized(dtype, bytes, expected.len());
            assert_same_bits(&values, expected, &format!("{dtype} row {row}"));
        }
    }
}

#[test]
fn packed_rows_decode_by_the_documented_layout() {
    for dtype in DType::ALL {
        for cols in cols_grid(dtype) {
            let bytes = random_row(dtype, cols, cols as u64);
            let (q, s) = packed(dtype, &bytes, cols);
            let expected = dequantized(dtype, &bytes, cols);
            let documented: Vec<f32> = (0..cols).map(|i| element(dtype, &q, &s, i)).collect();
            assert_same_bits(&documented, &expected, &format!("{dtype}, {cols} columns"));
        }
    }
}

#[test]
fn unpacking_equals_dequantising_bit_for_bit() {
    for dtype in DType::ALL {
        for cols in cols_grid(dtype) {
            let bytes = random_row(dtype, cols, 31 + cols as u64);
            let (q, s) = packed(dtype, &bytes, cols);
            let mut values = vec![f32::NAN; cols];
            unpack_row(dtype, &q, &s, cols, &mut values);
            let expected = dequantized(dtype, &bytes, cols);
            assert_same_bits(&values, &expected, &format!("{dtype}, {cols} columns"));
        }
    }
}

#[test]
fn every_bit_of_a_block_survives_packing() {
    for dtype in DType::ALL {
        let cols = 3 * dtype.block_len();
        let mut bytes = random_row(dtype, cols, 5);
        let before = packed(dtype, &bytes, cols);
        let mut seen = std::collections::HashSet::new();
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let after = packed(dtype, &bytes, cols);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(before, after, "{dtype}: bit {bit} is lost");
            assert!(seen.insert(after), "{dtype}: bit {bit} shares a place");
        }
    }
}

#[test]
fn packed_rows_are_whole_vec4s_and_their_padding_is_zero() {
    for dtype in DType::ALL {
        for cols in cols_grid(dtype) {
            let PackedRow { q_words, s_words } = packed_row(dtype, cols);
            assert_eq!(q_words % 4, 0, "{dtype}, {cols} columns");
            assert_eq!(padded_cols(dtype, cols) % 32, 0);
            assert_eq!(s_words == 0, !dtype.is_quantized());
            // `packed` starts from dirty words; where the file has only ones, what stays zero is padding.
            let n_bytes = cols.div_ceil(dtype.block_len()) * dtype.block_bytes();
            let (q, s) = packed(dtype, &vec![0xff; n_bytes], cols);
            let ones = |words: &[u32]| words.iter().map(|w| w.count_ones() as usize).sum::<usize>();
            // The scale of Q6K is widened from f16 to f32: a NaN's 16 ones become 24 or 25.
            if dtype != DType::Q6K {
                assert_eq!(ones(&q) + ones(&s), 8 * n_bytes, "{dtype}, {cols} columns");
            }
        }
    }
    let blocks_of_32 = packed_row(DType::Q5_0, 5 * 32);
    assert_eq!((blocks_of_32.q_words, blocks_of_32.s_words), (20, 8));
}

#[test]
fn q8_0_f16_and_bf16_are_written_as_the_gguf_package_writes_them() {
    let golden = golden();
    for dtype in [DType::Q8_0, DType::F16, DType::BF16] {
        let (expected, n_bytes) = rows(&golden, dtype, "of_x");
        for (row, (x, expected)) in f32_rows(&golden, "x")
            .iter()
            .zip(expected.chunks(n_bytes))
            .enumerate()
        {
            assert_eq!(quantized(dtype, x), expected, "{dtype} row {row}");
        }
    }
}

#[test]
fn q4_0_has_less_error_than_the_gguf_package_and_never_more_in_a_block() {
    let golden = golden();
    let (theirs, n_bytes) = rows(&golden, DType::Q4_0, "of_x");
    let (mut ours_sum, mut theirs_sum) = (0.0, 0.0);
    for (row, (x, theirs)) in f32_rows(&golden, "x")
        .iter()
        .zip(theirs.chunks(n_bytes))
        .enumerate()
    {
        let ours = dequantized(DType::Q4_0, &quantized(DType::Q4_0, x), x.len());
        let theirs = dequantized(DType::Q4_0, theirs, x.len());
        for block in (0..x.len()).step_by(32) {
            let at = block..block + 32;
            let ours = squared_error(&x[at.clone()], &ours[at.clone()]);
            let theirs = squared_error(&x[at.clone()], &theirs[at]);
            // The two sums round differently where the blocks are the same.
            assert!(
                ours <= theirs * (1.0 + 1e-6),
                "row {row}, block at {block}: {ours} > {theirs}"
            );
            if row < 2 {
                ours_sum += ours;
                theirs_sum += theirs;
            }
        }
    }
    assert!(
        ours_sum < 0.95 * theirs_sum,
        "{ours_sum} against {theirs_sum} on normal deviates"
    );
}

#[test]
fn quantisation_error_is_bounded_by_the_step() {
    let mut random = Random(3);
    for scale in [0.02, 1.0, 300.0] {
        let x: Vec<f32> = (0..320).map(|_| (random.unit() - 0.5) * scale).collect();
        // Half a step and a little for the rounded scale; Q4_0 may also cut its extreme by a step.
        for (dtype, steps, bound) in [(DType::Q8_0, 127.0, 0.57), (DType::Q4_0, 7.0, 1.2)] {
            let y = dequantized(dtype, &quantized(dtype, &x), x.len());
            for (x, y) in x.chunks(32).zip(y.chunks(32)) {
                let step = x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / steps;
                for (x, y) in x.iter().zip(y) {
                    assert!((x - y).abs() <= bound * step, "{dtype}: {x} became {y}");
                }
            }
        }
    }
}

#[test]
fn values_on_the_grid_are_kept_exactly() {
    for q in 0..32i32 {
        let x: Vec<f32> = (0..32).map(|e| 0.125 * ((e + q) % 16 - 8) as f32).collect();
        let y = dequantized(DType::Q4_0, &quantized(DType::Q4_0, &x), 32);
        assert_eq!(x, y, "Q4_0 rotated by {q}");
        let x: Vec<f32> = (0..32)
            .map(|e| 0.5 * (127 - 8 * ((e + q) % 32)) as f32)
            .collect();
        let y = dequantized(DType::Q8_0, &quantized(DType::Q8_0, &x), 32);
        assert_eq!(x, y, "Q8_0 rotated by {q}");
    }
}

#[test]
fn a_row_that_ends_inside_a_block_is_padded_with_zeros() {
    let mut random = Random(9);
    for dtype in DType::ALL.into_iter().filter(|&dtype| can_quantize(dtype)) {
        for cols in [0, 1, 31, 33, 50] {
            let mut x: Vec<f32> = (0..cols).map(|_| random.unit() - 0.5).collect();
            let bytes = quantized(dtype, &x);
            let decoded = dequantized(dtype, &bytes, cols);
            x.resize(cols.next_multiple_of(dtype.block_len()), 0.0);
            assert_eq!(bytes, quantized(dtype, &x), "{dtype}, {cols} columns");
            let padded = dequantized(dtype, &bytes, x.len());
            assert_eq!(decoded, padded[..cols], "{dtype}, {cols} columns");
            assert!(
                padded[cols..].iter().all(|&y| y == 0.0),
                "{dtype}, {cols} columns"
            );
        }
    }
}

#[test]
fn quantising_appends_to_what_is_there() {
    let mut out = vec![7; 3];
    quantize_row(DType::F16, &[1.0, -2.0], &mut out);
    assert_eq!(out, [7, 7, 7, 0x00, 0x3c, 0x00, 0xc0]);
}

#[test]
fn a_non_finite_value_or_scale_is_found_where_it_is() {
    for dtype in DType::ALL {
        let n_blocks = 2500 / dtype.block_len().min(32);
        let cols = n_blocks * dtype.block_len();
        let clean = random_row(dtype, cols, 77);
        assert_eq!(first_non_finite(dtype, &clean), None, "{dtype}");
        assert_eq!(first_non_finite(dtype, &[]), None, "{dtype}");
        for block in [0, 1, n_blocks / 2, n_blocks - 1] {
            for (at, bad) in scales_of(dtype)
                .iter()
                .flat_map(|&at| non_finite(dtype).map(|bad| (at, bad)))
            {
                let mut bytes = clean.clone();
                let at = block * dtype.block_bytes() + at;
                bytes[at..at + bad.len()].copy_from_slice(&bad);
                let found = first_non_finite(dtype, &bytes);
                assert_eq!(
                    found,
                    Some(block * dtype.block_len()),
                    "{dtype}: {bad:02x?} at byte {at}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_found_as_a_non_finite_scale() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| can_quantize(dtype)) {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 40, 95] {
                let mut x = vec![0.5; 96];
                x[at] = bad;
                let expected = at - at % dtype.block_len();
                let bytes = quantized(dtype, &x);
                assert_eq!(
                    first_non_finite(dtype, &bytes),
                    Some(expected),
                    "{dtype}: {bad} at {at}"
                );
            }
        }
    }
    let bytes = quantized(DType::Q4_0, &[1e9; 32]);
    assert_eq!(first_non_finite(DType::Q4_0, &bytes), Some(0));
}

/// Element `i` of a packed row, bit by bit from the tables at the top of `tensor::quant`.
fn element(dtype: DType, q: &[u32], s: &[u32], i: usize) -> f32 {
    let half = |word: u32, half: usize| f16::from_bits((word >> (16 * half)) as u16).to_f32();
    let (b, e) = (i / 32, i % 32);
    let (sb, j) = (i / 256, b % 8);
    // nib32 and fifth bits of one block.
    let nibble = |words: &[u32]| {
        let r = e % 8;
        let byte = words[e / 8] >> (8 * (r % 4)) & 0xff;
        if r < 4 { byte & 0xf } else { byte >> 4 }
    };
    let fifth = |word: u32| word >> (8 * (e % 4) + e / 4) & 1;
    let sub_scales = |w: &[u32]| {
        let scale = (w[1] >> (4 * j) & 15) + 16 * (w[3] >> (2 * j) & 3);
        let min = (w[2] >> (4 * j) & 15) + 16 * (w[3] >> (16 + 2 * j) & 3);
        (half(w[0], 0) * scale as f32, half(w[0], 1) * min as f32)
    };
    match dtype {
        DType::F32 => f32::from_bits(q[i]),
        DType::F16 => half(q[i / 2], i % 2),
        DType::BF16 => f32::from_bits((q[i / 2] >> (16 * (i % 2))) << 16),
        DType::Q8_0 => {
            let byte = (q[8 * b + e / 4] >> (8 * (e % 4))) as u8;
            half(s[b / 2], b % 2) * f32::from(byte as i8)
        }
        DType::Q4_0 => half(s[b / 2], b % 2) * (nibble(&q[4 * b..]) as f32 - 8.0),
        DType::Q4_1 => half(s[b], 0) * nibble(&q[4 * b..]) as f32 + half(s[b], 1),
        DType::Q5_0 => {
            let n_blocks = q.len() / 4;
            let value = nibble(&q[4 * b..]) + 16 * fifth(s[b]);
            half(s[n_blocks + b / 2], b % 2) * (value as f32 - 16.0)
        }
        DType::Q4K => {
            let (d, m) = sub_scales(&s[4 * sb..]);
            d * nibble(&q[4 * b..]) as f32 - m
        }
        DType::Q5K => {
            let s = &s[12 * sb..];
            let (d, m) = sub_scales(s);
            d * (nibble(&q[4 * b..]) + 16 * fifth(s[4 + j])) as f32 - m
        }
        DType::Q6K => {
            let (q, s) = (&q[48 * sb..], &s[5 * sb..]);
            let word = q[32 + 2 * j + e / 16] >> (2 * (e / 4 % 4));
            let value = nibble(&q[4 * j..]) + 16 * (word >> (8 * (e % 4)) & 3);
            let k = i % 256 / 16;
            let scale = (s[k / 4] >> (8 * (k % 4))) as i8;
            f32::from_bits(s[4]) * f32::from(scale) * (value as f32 - 32.0)
        }
    }
}

/// Columns about the sizes where padding and pairs of blocks begin, and a model's width.
fn cols_grid(dtype: DType) -> Vec<usize> {
    match dtype.block_len() {
        1 => vec![1, 2, 31, 32, 33, 64, 97, 576],
        32 => vec![1, 17, 32, 33, 64, 96, 160, 576],
        _ => vec![1, 100, 255, 256, 257, 512, 768, 2048],
    }
}

/// Random whole blocks for `cols` elements, scales (of plain types: elements) finite.
fn random_row(dtype: DType, cols: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let n_blocks = cols.div_ceil(dtype.block_len());
    let mut bytes: Vec<u8> = (0..n_blocks * dtype.block_bytes())
        .map(|_| random.next() as u8)
        .collect();
    for block in bytes.chunks_mut(dtype.block_bytes()) {
        for &at in scales_of(dtype) {
            let finite = random.unit() * 8.0 - 4.0;
            match dtype {
                DType::F32 => block.copy_from_slice(&finite.to_le_bytes()),
                DType::BF16 => block.copy_from_slice(&finite.to_le_bytes()[2..]),
                _ => block[at..at + 2].copy_from_slice(&f16::from_f32(finite).to_le_bytes()),
            }
        }
    }
    bytes
}

/// Offsets of the floating-point numbers in a block.
fn scales_of(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0 | DType::Q5_0 => &[0],
        DType::Q4_1 | DType::Q4K | DType::Q5K => &[0, 2],
        DType::Q6K => &[208],
    }
}

/// A NaN, an infinity and the NaN with the fewest ones, as a block has them.
fn non_finite(dtype: DType) -> [Vec<u8>; 3] {
    match dtype {
        DType::F32 => {
            [0x7fc0_0000u32, 0xff80_0000, 0x7f80_0001].map(|bits| bits.to_le_bytes().to_vec())
        }
        DType::BF16 => [0x7fc0u16, 0xff80, 0x7f81].map(|bits| bits.to_le_bytes().to_vec()),
        _ => [0x7e00u16, 0xfc00, 0x7c01].map(|bits| bits.to_le_bytes().to_vec()),
    }
}

fn quantized(dtype: DType, x: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    quantize_row(dtype, x, &mut bytes);
    bytes
}

fn dequantized(dtype: DType, bytes: &[u8], cols: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; cols];
    dequantize_row(dtype, bytes, &mut values);
    values
}

fn packed(dtype: DType, bytes: &[u8], cols: usize) -> (Vec<u32>, Vec<u32>) {
    let row = packed_row(dtype, cols);
    let (mut q, mut s) = (vec![DIRT; row.q_words], vec![DIRT; row.s_words]);
    pack_row(dtype, bytes, cols, &mut q, &mut s);
    (q, s)
}

fn squared_error(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2))
        .sum()
}

fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.to_bits(),
            expected.to_bits(),
            "{what}, element {i}: {found} for {expected}"
        );
    }
}

fn golden() -> SafeTensors<'static> {
    SafeTensors::deserialize(GOLDEN).expect("quant.safetensors parses")
}

/// Bytes of the tensor `DTYPE.name` and how many a row has.
fn rows<'a>(golden: &SafeTensors<'a>, dtype: DType, name: &str) -> (&'a [u8], usize) {
    let tensor = golden
        .tensor(&format!("{dtype}.{name}"))
        .expect("a golden tensor");
    (tensor.data(), tensor.shape()[1])
}

fn f32_rows(golden: &SafeTensors<'_>, name: &str) -> Vec<Vec<f32>> {
    let tensor = golden.tensor(name).expect("a golden tensor");
    let values: Vec<f32> = tensor
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    values
        .chunks(tensor.shape()[1])
        .map(<[f32]>::to_vec)
        .collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In [0, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}
