// As lib/x_block_subgroup.wgsl, for subgroups of four: an invocation reads two quads of the block.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_block(lid: u32, row: u32, side: u32, block: u32) -> array<vec4<f32>, 8> {
    let n_quads = n_input_quads();
    let quad = block * 8u + lid % 4u;
    var a = vec4(0.0); // The last block may be cut: past it w is zero, and x must not be read.
    var b = vec4(0.0);
    if quad < n_quads {
        a = input_quad(row, side * n_quads + quad);
    }
    if quad + 4u < n_quads {
        b = input_quad(row, side * n_quads + quad + 4u);
    }
    return array(
        subgroupBroadcast(a, 0u), subgroupBroadcast(a, 1u), subgroupBroadcast(a, 2u), subgroupBroadcast(a, 3u),
        subgroupBroadcast(b, 0u), subgroupBroadcast(b, 1u), subgroupBroadcast(b, 2u), subgroupBroadcast(b, 3u),
    );
}

fn readers_sum(lid: u32, value: f32) -> f32 {
    return subgroupBroadcast(value, 0u) + subgroupBroadcast(value, 1u)
        + subgroupBroadcast(value, 2u) + subgroupBroadcast(value, 3u);
}
