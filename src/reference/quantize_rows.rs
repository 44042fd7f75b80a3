//! CPU twin of `shaders/quantize_rows.wgsl`.

use crate::kernels::quantize_rows::{BLOCK_WORDS, Params};

/// `x[r, c] = scale * q`, `|q| <= 127`, with one scale for 32 columns: the largest `|x|` over 127.
///
/// `x`: `[rows, cols]`; `y`: `[rows, blocks, 9]`, eight words of four signed bytes and the bits of the scale.
pub fn quantize_rows(p: &Params, x: &[f32], y: &mut [u32]) {
    let row_words = (p.blocks * BLOCK_WORDS) as usize;
    let rows = x
        .chunks_exact(p.cols as usize)
        .zip(y.chunks_exact_mut(row_words));
    for (x, y) in rows.take(p.rows as usize) {
        let blocks = x.chunks(32).zip(y.chunks_exact_mut(BLOCK_WORDS as usize));
        for (x, y) in blocks {
            // In f32 as the kernel: another rounding of the quotient could be another integer.
            let scale = x.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            y.fill(0);
            for (c, x) in x.iter().enumerate() {
                let q = (x * inverse).round_ties_even() as i8;
                y[c / 4] |= u32::from(q as u8) << (c % 4 * 8);
            }
            y[8] = scale.to_bits();
        }
    }
}

/// The values that a row of blocks stands for.
pub(super) fn dequantize(words: &[u32], out: &mut [f32]) {
    let blocks = out
        .chunks_mut(32)
        .zip(words.chunks_exact(BLOCK_WORDS as usize));
    for (out, block) in blocks {
        let scale = f32::from_bits(block[8]);
        for (c, out) in out.iter_mut().enumerate() {
            let q = (block[c / 4] >> (c % 4 * 8)) as u8 as i8;
            *out = scale * f32::from(q);
        }
    }
}
