// The input of a product in blocks of signed bytes, as quantize_rows.wgsl makes them.
// Joins: lib/linear.wgsl, lib/weight_*.wgsl with `block_bytes`.

@group(0) @binding(3) var<storage, read> x: array<u32>;             // [rows, blocks, 9]

const SIDES: u32 = 1u;

// Where a block's bytes begin, and what its integers are multiplied with.
fn x_bytes(row: u32, block: u32) -> u32 {
    return (row * params.blocks + block) * 9u;
}

fn x_scale(row: u32, block: u32) -> f32 {
    return bitcast<f32>(x[x_bytes(row, block) + 8u]);
}

fn w_bytes(row: u32, block: u32, half: u32) -> vec4<u32> {
    return block_bytes(row, block, half);
}

// In f32, for kernels that do not multiply bytes.
fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    return signed_bytes(x[x_bytes(row, quad / 8u) + quad % 8u]) * x_scale(row, quad / 8u);
}
