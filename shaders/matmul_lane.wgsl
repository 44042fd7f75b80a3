// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n])
//
// As matmul.wgsl, for devices on which an invocation is a lane of a CPU's vector register (see
// matvec_lane.wgsl): each makes a tile of ROWS rows by OUTS outputs by itself.
// Dispatch (ceil(outs / (WG * OUTS)), ceil(rows / ROWS), 1); where rows are on several branches a
// row of workgroups more for each but one. OUTS is 2, 4, 6 or 8.
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
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    if row_first >= arm.n_rows || wg.x * WG * OUTS >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    make_tile(lid, arm, row_first, (wg.x * WG + lid) * OUTS);
}

// In a function of its own, so that a workgroup which leaves does not first set its arrays to zero.
fn make_tile(lid: u32, arm: Arm, row_first: u32, first: u32) {
    var rows: array<u32, MAX_ROWS>;
    for (var r = 0u; r < ROWS; r += 1u) {
        rows[r] = row_at(arm, min(row_first + r, arm.n_rows - 1u));
    }
    var weights: array<u32, MAX_OUTS>;
    for (var i = 0u; i < OUTS; i += 1u) {
        weights[i] = weight_row(arm, first + i);
    }
    var values: array<array<vec4<f32>, 8>, MAX_ROWS>;
    var sums: array<array<f32, MAX_ROWS>, MAX_OUTS>;
    // One loop for blocks and sides, and every index into an array known when it is unrolled: what is
    // not goes to memory.
    for (var step = 0u; step < arm.blocks * SIDES; step += 1u) {
        let block = step / SIDES;
        let side = step % SIDES;
        for (var r = 0u; r < ROWS; r += 1u) {
            values[r] = x_block(lid, rows[r], side, block);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            if i % SIDES == side {
                let w = decode_block(weights[i], block);
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
