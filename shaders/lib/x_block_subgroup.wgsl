// As lib/x_block.wgsl, for subgroups of at least eight: an invocation reads one quad of the block and
// has the others from its neighbours. All invocations must ask for the same block, from uniform control
// flow; invocations are taken to fill subgroups in order, which `deputy devices --test` verifies.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_block(lid: u32, row: u32, side: u32, block: u32) -> array<vec4<f32>, 8> {
    let quad = block * 8u + lid % 8u;
    var mine = vec4(0.0); // The last block may be cut: past it w is zero, and x must not be read.
    if quad < n_input_quads() {
        mine = input_quad(row, side * n_input_quads() + quad);
    }
    return array(
        subgroupBroadcast(mine, 0u), subgroupBroadcast(mine, 1u),
        subgroupBroadcast(mine, 2u), subgroupBroadcast(mine, 3u),
        subgroupBroadcast(mine, 4u), subgroupBroadcast(mine, 5u),
        subgroupBroadcast(mine, 6u), subgroupBroadcast(mine, 7u),
    );
}

fn readers_sum(lid: u32, value: f32) -> f32 {
    return subgroupBroadcast(value, 0u) + subgroupBroadcast(value, 1u)
        + subgroupBroadcast(value, 2u) + subgroupBroadcast(value, 3u)
        + subgroupBroadcast(value, 4u) + subgroupBroadcast(value, 5u)
        + subgroupBroadcast(value, 6u) + subgroupBroadcast(value, 7u);
}
