// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n])
//
// As matmul.wgsl, for devices on which an invocation is a lane of a CPU's vector register (see
// matvec_lane.wgsl): each makes a tile of ROWS rows by OUTS outputs by itself.
// Dispatch (ceil(outs / (WG * OUTS)), ceil(rows / ROWS), 1); where rows are on several branches a
// row of workgroups more for each but one. OUTS is 2, 4, 6 or 8, ROWS an even number.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/x_halves*.wgsl,
// lib/lane_tile*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;
override OUTS: u32 = 8u;
override ROWS: u32 = 8u;

// Mesa unrolls a loop as long as the array that it indexes, and what is not unrolled goes to memory. MAX_ROWS,
// which is ROWS, is declared by src/kernels/choose.rs.
const MAX_OUTS: u32 = 8u;

@compute @workgroup_size(WG)
fn matmul_lane(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    if row_first >= arm.n_rows || wg.x * WG * OUTS >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    make_tile(lid, arm, row_first, (wg.x * WG + lid) * OUTS);
}
