// The tile of an invocation of matmul_lane.wgsl: half a block of each row of x times half a block of each output's
// weights: as many as a processor has vector registers, while all rows take them.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/x_halves*.wgsl.

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
    var values: array<array<vec4<f32>, 4>, MAX_ROWS>;
    var sums: array<array<f32, MAX_ROWS>, MAX_OUTS>;
    // One loop for blocks, sides and halves, and every index into an array known when it is unrolled: what is
    // not goes to memory. What a uniform alone ends, Mesa's lavapipe 22 may unroll and compile anew at every dispatch.
    let n_steps = arm.blocks * SIDES * 2u + (row_first & params.zero);
    for (var step = 0u; step < n_steps; step += 1u) {
        let half = step % 2u;
        let block = step / 2u / SIDES;
        let side = step / 2u % SIDES;
        for (var r = 0u; r < ROWS; r += 2u) {
            let x = x_halves(lid, vec2(rows[r], rows[r + 1u]), side, block, half);
            values[r] = array(x[0], x[1], x[2], x[3]);
            values[r + 1u] = array(x[4], x[5], x[6], x[7]);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            if i % SIDES == side {
                let w = decode_half(weights[i], block, half);
                for (var r = 0u; r < ROWS; r += 1u) {
                    sums[i][r] += dot_16(w, values[r]);
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
