// A block of 32 values of a product's input, read by each invocation for itself.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_block(lid: u32, row: u32, side: u32, block: u32) -> array<vec4<f32>, 8> {
    let n_quads = n_input_quads();
    var values: array<vec4<f32>, 8>;
    // The last block may be cut: past it w is zero, and x must not be read.
    for (var i = 0u; i < min(8u, n_quads - block * 8u); i += 1u) {
        values[i] = input_quad(row, side * n_quads + block * 8u + i);
    }
    return values;
}

fn readers_sum(lid: u32, value: f32) -> f32 {
    return value;
}
