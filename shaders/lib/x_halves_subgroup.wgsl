// As lib/x_halves.wgsl, for subgroups of at least eight: of eight invocations the first four read a quad each of the one
// row, the others of the other. All invocations must ask for the same halves, from uniform control flow.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_halves(lid: u32, rows: vec2<u32>, side: u32, block: u32, half: u32) -> array<vec4<f32>, 8> {
    let row = select(rows.x, rows.y, (lid & 4u) != 0u);
    let n_quads = n_input_quads();
    // The last block may be cut: past it w is zero, and x must not be read.
    let quad = min(block * 8u + half * 4u + (lid & 3u), n_quads - 1u);
    let mine = input_quad(row, side * n_quads + quad);
    return array(
        subgroupBroadcast(mine, 0u), subgroupBroadcast(mine, 1u),
        subgroupBroadcast(mine, 2u), subgroupBroadcast(mine, 3u),
        subgroupBroadcast(mine, 4u), subgroupBroadcast(mine, 5u),
        subgroupBroadcast(mine, 6u), subgroupBroadcast(mine, 7u),
    );
}
