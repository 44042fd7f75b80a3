// As lib/input_latents.wgsl, for a gate and what it is multiplied with: outputs in turn read `cols`
// columns of the one and, behind them, of the other. Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, x_cols]

const SIDES: u32 = 2u;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    return x[row * (params.x_cols / 4u) + params.x_first / 4u + quad];
}

fn input_scale(lid: u32) -> f32 {
    return 1.0;
}
