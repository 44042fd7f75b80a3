// As lib/input_latents.wgsl, for several weights that each read `cols` columns, one's behind another's.
// Joins: lib/linear.wgsl, lib/arm_parts.wgsl.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, x_cols]

const SIDES: u32 = 1u;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    let part = part_of(row);
    let first = (params.x_first + part * params.cols) / 4u;
    return x[(row - part * params.rows) * (params.x_cols / 4u) + first + quad];
}

fn input_scale(lid: u32) -> f32 {
    return 1.0;
}
