// As lib/x_halves.wgsl, for subgroups of four: an invocation reads a quad of each row.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_halves(lid: u32, rows: vec2<u32>, side: u32, block: u32, half: u32) -> array<vec4<f32>, 8> {
    let n_quads = n_input_quads();
    // The last block may be cut: past it w is zero, and x must not be read.
    let quad = side * n_quads + min(block * 8u + half * 4u + (lid & 3u), n_quads - 1u);
    let a = input_quad(rows.x, quad);
    let b = input_quad(rows.y, quad);
    return array(
        subgroupBroadcast(a, 0u), subgroupBroadcast(a, 1u), subgroupBroadcast(a, 2u), subgroupBroadcast(a, 3u),
        subgroupBroadcast(b, 0u), subgroupBroadcast(b, 1u), subgroupBroadcast(b, 2u), subgroupBroadcast(b, 3u),
    );
}
