//! CPU twin of `shaders/rope.wgsl`.

use crate::kernels::{PADDING, Row, rope::Params};

/// Rotates pair `p` of each head by the angle of its row's position, given as (cos, sin).
///
/// `rows`: `[rows]`, `table`: `[n_ctx, rotary_dim / 2]`, `x`, `y`: `[rows, n_heads, head_dim]`. Pairs are
/// `(p, p + rotary_dim / 2)`, or `(2p, 2p + 1)` where `interleaved`; dimensions from `rotary_dim` on are copied.
/// A padding row is rotated as position 0.
pub fn rope(p: &Params, rows: &[Row], table: &[[f32; 2]], x: &[f32], y: &mut [f32]) {
    let [n_heads, head_dim, n_pairs] =
        [p.n_heads, p.head_dim, p.rotary_dim / 2].map(|n| n as usize);
    let heads = x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim));
    for (i, (x, y)) in heads.take(p.rows as usize * n_heads).enumerate() {
        let position = match rows[i / n_heads].position {
            PADDING => 0,
            position => position as usize,
        };
        y.copy_from_slice(x);
        for (pair, angle) in table[position * n_pairs..][..n_pairs].iter().enumerate() {
            let (a, b) = if p.interleaved != 0 {
                (2 * pair, 2 * pair + 1)
            } else {
                (pair, pair + n_pairs)
            };
            let [cos, sin] = angle.map(f64::from);
            let [xa, xb] = [x[a], x[b]].map(f64::from);
            y[a] = (xa * cos - xb * sin) as f32;
            y[b] = (xb * cos + xa * sin) as f32;
        }
    }
}
