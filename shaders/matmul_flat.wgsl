// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n]), x in signed bytes with one scale
//
// As matmul.wgsl, with integers: eight products of four bytes each a block, summed up in i32 over the whole row, and
// one multiplication with the scales of x's row and of w's at the end. w has one scale a row, that of its first block.
// Behind the blocks of w's own columns come those of further copies of x's columns: they take the bytes of w that the
// table names, so w is not stored twice.
// A workgroup of WG = 4 * ROWS makes a tile of ROWS rows (32 or 64) by 64 outputs, an invocation 4 by 4 of it.
// Dispatch (ceil(outs / 64), ceil(rows / ROWS), 1), where rows are on several branches
// a row of workgroups more for each but one; outs at most 64 * 65535.
// Joins: lib/linear.wgsl, lib/input_flat.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl with `block_bytes`,
// lib/byte_tile.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 256u;
override ROWS: u32 = 64u;

@compute @workgroup_size(WG)
fn matmul_flat(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    let out_first = wg.x * OUTS;
    if row_first >= arm.n_rows || out_first >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let my_rows = lid / 16u; // Which quad of rows of the tile.
    let my_outs = lid % 16u; // Which quad of outputs.
    var sums: array<vec4<i32>, 4>;
    for (var block = 0u; block < flat_blocks(arm); block += 1u) {
        load_tiles(lid, WG, arm, row_first, ROWS, out_first, block);
        workgroupBarrier();
        add_products(my_rows, my_outs, &sums);
        workgroupBarrier();
    }
    let out = out_first + my_outs * 4u;
    var w_scale: vec4<f32>;
    for (var i = 0u; i < 4u; i += 1u) {
        w_scale[i] = block_scale(weight_row(arm, out + i), 0u);
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        let scale = row_scale(row_at(arm, min(row, arm.n_rows - 1u)));
        let products = scale * w_scale * vec4<f32>(sums[i]);
        store(arm, row, out, products.xy);
        store(arm, row, out + 2u, products.zw);
    }
}
