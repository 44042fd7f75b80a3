//! CPU twin of `shaders/add.wgsl`.

use crate::kernels::add::Params;

/// `y[i] = a[i] + b[i]`, all `[4 * quads]`.
pub fn add(p: &Params, a: &[f32], b: &[f32], y: &mut [f32]) {
    let n = 4 * p.quads as usize;
    for ((y, &a), &b) in y[..n].iter_mut().zip(a).zip(b) {
        *y = a + b;
    }
}
