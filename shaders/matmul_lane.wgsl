// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n])
//
// As matmul.wgsl, for devices on which an invocation is a lane of a CPU's vector register (see
// matvec_lane.wgsl): each makes a tile of ROWS rows by OUTS outputs by itself.
// Dispatch (ceil(outs / (WG * OUTS)), ceil(rows / ROWS), 1, or one for each branch). OUTS is 2, 4, 6 or 8.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/x_block*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;
override OUTS: u32 = 8u;
override ROWS: u32 = 16u;

const MAX_OUTS: u32 = 8u;
const MAX_ROWS: u32 = 16u;

@compute @workgroup_size(WG)
fn matmul_lane(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_list(wg.z);
    let row_first = wg.y * ROWS;
    if row_first >= arm.n_rows || wg.x * WG * OUTS >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let first = (wg.x * WG + lid) * OUTS;
    var values: array<array<vec4<f32>, 8>, MAX_ROWS>;
    var sums: array<array<f32, MAX_ROWS>, MAX_OUTS>;
    // One loop for blocks and sides, and every index into an array known when it is unrolled: what is
    // not goes to memory.
    for (var step = 0u; step < arm.blocks * SIDES; step += 1u) {
        let block = step / SIDES;
        let side = step % SIDES;
        for (var r = 0u; r < ROWS; r += 1u) {
            let row = row_at(arm, min(row_first + r, arm.n_rows - 1u));
            values[r] = x_block(lid, row, side, block);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            if i % SIDES == side {
                let w = decode_block(weight_row(arm, first + i), block);
                for (var r = 0u; r < ROWS; r += 1u) {
                    sums[i][r] += dot_32(w, values[r]);
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r += 1u) {
        for (var i = 0u; i < OUTS; i += 2u) {
            store(arm, row_first + r, first + i, vec2(sums[i][r], sums[i + 1u][r]));
        }
    }
}
