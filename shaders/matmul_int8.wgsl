// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n]), x in blocks of signed bytes
//
// As matmul.wgsl, with integers: 32 columns of a weight's block times 32 of x's are eight products of
// four bytes each, exact in i32, and one multiplication with both scales. A workgroup of WG = 4 * ROWS
// makes a tile of ROWS rows (32 or 64) by 64 outputs, an invocation 4 by 4 of it.
// Dispatch (ceil(outs / 64), ceil(rows / ROWS), 1), where rows are on several branches
// a row of workgroups more for each but one; outs at most 64 * 65535.
// Joins: lib/linear.wgsl, lib/input_int8.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl with `block_bytes`,
// lib/byte_tile.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 256u;
override ROWS: u32 = 64u;

var<workgroup> x_scales: array<vec4<f32>, 16>;
var<workgroup> w_scales: array<vec4<f32>, 16>;

@compute @workgroup_size(WG)
fn matmul_int8(
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
    var acc: array<vec4<f32>, 4>;
    for (var block = 0u; block < arm.blocks; block += 1u) {
        load_tiles(lid, WG, arm, row_first, ROWS, out_first, block);
        // WG is at least OUTS + ROWS.
        if lid < OUTS {
            w_scales[lid / 4u][lid % 4u] = block_scale(weight_row(arm, out_first + lid), block);
        } else if lid < OUTS + ROWS {
            let line = lid - OUTS;
            let row = row_at(arm, min(row_first + line, arm.n_rows - 1u));
            x_scales[line / 4u][line % 4u] = x_scale(row, block);
        }
        workgroupBarrier();
        var sums: array<vec4<i32>, 4>;
        add_products(my_rows, my_outs, &sums);
        let row_scale = x_scales[my_rows];
        let out_scale = w_scales[my_outs];
        acc[0] += row_scale.x * out_scale * vec4<f32>(sums[0]);
        acc[1] += row_scale.y * out_scale * vec4<f32>(sums[1]);
        acc[2] += row_scale.z * out_scale * vec4<f32>(sums[2]);
        acc[3] += row_scale.w * out_scale * vec4<f32>(sums[3]);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        store(arm, row, out_first + my_outs * 4u, acc[i].xy);
        store(arm, row, out_first + my_outs * 4u + 2u, acc[i].zw);
    }
}
