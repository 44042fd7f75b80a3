// Some columns of the latents that a product before has made. Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, x_cols]

const SIDES: u32 = 1u;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    return x[row * (params.x_cols / 4u) + params.x_first / 4u + quad];
}

fn input_scale(lid: u32) -> f32 {
    return 1.0;
}
