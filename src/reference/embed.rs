//! CPU twin of `shaders/embed.wgsl`.

use super::packed::Packed;
use crate::kernels::{PADDING, Row, embed::Params};
use crate::tensor::DType;

/// `y[r, :] = w[token of row r, :] * scale` where this part of the table holds the token.
///
/// `w`: `[n_tokens, cols]`, `rows`: `[rows]`, `tokens`: `[n_sequences, n_ctx]`, `y`: `[rows, cols]`.
/// A padding row takes zeros, from the part that holds token 0.
pub fn embed(dtype: DType, p: &Params, w: Packed<'_>, rows: &[Row], tokens: &[u32], y: &mut [f32]) {
    let cols = p.cols as usize;
    for (row, y) in rows[..p.rows as usize].iter().zip(y.chunks_exact_mut(cols)) {
        if row.position == PADDING {
            if p.first_token == 0 {
                y.fill(0.0);
            }
            continue;
        }
        let token = tokens[row.sequence as usize * p.n_ctx as usize + row.position as usize];
        let Some(part_row) = token.checked_sub(p.first_token).filter(|&n| n < p.n_tokens) else {
            continue;
        };
        w.row(dtype, part_row as usize, cols, y);
        for y in y {
            *y *= p.scale;
        }
    }
}
