// The input of a product in blocks of signed bytes, as quantize_rows.wgsl makes them.
// Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<u32>;             // [rows, blocks, 9]

const SIDES: u32 = 1u;

fn n_input_quads() -> u32 {
    return params.cols / 4u;
}

// In f32, for kernels that do not multiply bytes.
fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    let block = (row * params.blocks + quad / 8u) * 9u;
    return vec4<f32>(unpack4xI8(x[block + quad % 8u])) * bitcast<f32>(x[block + 8u]);
}
