//! CPU twin of `shaders/gated_act.wgsl`.

use crate::kernels::gated_act::Params;
use std::f64::consts::FRAC_2_PI;

/// `y[i] = act(gate[i]) * up[i]`, all `[4 * quads]`: `act` is SiLU, or GELU in its tanh form where `gelu`.
pub fn gated_act(p: &Params, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let n = 4 * p.quads as usize;
    for ((y, &gate), &up) in y[..n].iter_mut().zip(gate).zip(up) {
        let g = f64::from(gate);
        let act = if p.gelu != 0 {
            0.5 * g * (1.0 + (FRAC_2_PI.sqrt() * (g + 0.044715 * g.powi(3))).tanh())
        } else {
            g / (1.0 + (-g).exp())
        };
        *y = (act * f64::from(up)) as f32;
    }
}
