// Half a block, 16 values, of two rows of a product's input: four quads of the one row, then four of the other. Read by
// each invocation for itself.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_halves(lid: u32, rows: vec2<u32>, side: u32, block: u32, half: u32) -> array<vec4<f32>, 8> {
    let n_quads = n_input_quads();
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        // The last block may be cut: past it w is zero, and x must not be read.
        let quad = side * n_quads + min(block * 8u + half * 4u + i, n_quads - 1u);
        values[i] = input_quad(rows.x, quad);
        values[i + 4u] = input_quad(rows.y, quad);
    }
    return values;
}
