// The input of a product as it is. Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]

// Inputs that neighbouring outputs read in turn; of pairs the second lies behind the first.
const SIDES: u32 = 1u;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    return x[row * n_input_quads() + quad];
}

fn input_scale(lid: u32) -> f32 {
    return 1.0;
}
