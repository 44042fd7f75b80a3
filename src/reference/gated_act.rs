//! CPU twin of `shaders/gated_act.wgsl`.

use crate::kernels::gated_act::Params;
use std::f64::consts::FRAC_2_PI;

/// `y[r, i] = act(x[r, i]) * x[r, cols + i]`, `cols = 4 * quads`: gate and up side by side in `x`.
///
/// `x`: `[rows, 2, cols]`, `y`: `[rows, cols]`; `act` is SiLU, or GELU in its tanh form where `gelu`.
pub fn gated_act(p: &Params, x: &[f32], y: &mut [f32]) {
    let cols = 4 * p.quads as usize;
    let rows = x.chunks_exact(2 * cols).zip(y.chunks_exact_mut(cols));
    for (x, y) in rows.take(p.rows as usize) {
        let (gate, up) = x.split_at(cols);
        for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
            *y = (activate(f64::from(gate), p.gelu != 0) * f64::from(up)) as f32;
        }
    }
}

/// SiLU, or GELU in its tanh form.
pub(super) fn activate(g: f64, gelu: bool) -> f64 {
    if gelu {
        0.5 * g * (1.0 + (FRAC_2_PI.sqrt() * (g + 0.044715 * g.powi(3))).tanh())
    } else {
        g / (1.0 + (-g).exp())
    }
}
