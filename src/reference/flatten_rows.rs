//! CPU twin of `shaders/flatten_rows.wgsl`.

use crate::graph::MAX_LEVEL;
use crate::kernels::flatten_rows::{Params, row_words};

/// `v = round(x[r, c] / scale)` in signed bytes: copy k of a column holds `clamp(v, ±127 (k + 1)) - clamp(v, ±127 k)`.
///
/// `x`: `[rows, cols]`; `gains`: `[cols]` where rows are normed, else unused; `table`: see
/// [`Flat::table`](crate::graph::Flat::table); `y`: [`row_words`] a row.
pub fn flatten_rows(p: &Params, x: &[f32], gains: &[f32], table: &[u32], y: &mut [u32]) {
    let cols = p.cols as usize;
    let n_words = row_words(p.blocks, p.extra_blocks) as usize;
    let first_words = 8 * p.blocks as usize;
    let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(n_words));
    for (x, y) in rows.take(p.rows as usize) {
        let mut normed = x.to_vec();
        if p.has_norm != 0 {
            super::rms_norm::norm(x, gains, p.eps, &mut normed);
        }
        // In f32 as the kernel: another rounding of a quotient could be another integer.
        let (mut scale, mut inverse) = (p.scale, p.inverse);
        if p.scale == 0.0 {
            let parts = normed.iter().zip(table).map(|(x, &n)| x.abs() / n as f32);
            scale = parts.fold(0.0f32, f32::max) / MAX_LEVEL as f32;
            inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        }
        let integer = |column: usize| (normed[column] * inverse).round_ties_even() as i64;
        y.fill(0);
        for column in 0..cols {
            put(y, column, copy(integer(column), 0));
        }
        for (i, &entry) in table.iter().enumerate().skip(4 * first_words) {
            let (column, k) = (entry & 0xff_ffff, entry >> 24);
            if k < 255 {
                put(y, i, copy(integer(column as usize), k.into()));
            }
        }
        y[n_words - 1] = scale.to_bits();
    }
}

/// What copy k holds of an integer.
fn copy(v: i64, k: i64) -> i8 {
    let level = i64::from(MAX_LEVEL);
    let within = |n: i64| v.clamp(-level * n, level * n);
    (within(k + 1) - within(k)) as i8
}

fn put(words: &mut [u32], at: usize, byte: i8) {
    words[at / 4] |= u32::from(byte as u8) << (at % 4 * 8);
}

/// The integers of a row, the copies of each column added up.
pub(super) fn integers(words: &[u32], table: &[u32], blocks: u32, out: &mut [f32]) {
    let byte = |at: usize| f32::from((words[at / 4] >> (at % 4 * 8)) as u8 as i8);
    for (column, out) in out.iter_mut().enumerate() {
        *out = byte(column);
    }
    for (at, &entry) in table.iter().enumerate().skip(32 * blocks as usize) {
        if let Some(out) = out.get_mut((entry & 0xff_ffff) as usize) {
            *out += byte(at);
        }
    }
}
