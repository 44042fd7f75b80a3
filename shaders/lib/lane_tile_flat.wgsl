// The tile of an invocation of matmul_lane.wgsl of x in signed bytes with one scale. Software adapters take products of
// bytes apart anyway: half blocks are multiplied in f32, which holds their integers exactly (16 * 127 * 127 < 2^24), and
// summed up in i32, to the bits of matmul_flat.wgsl.
// Joins: lib/linear.wgsl, lib/input_flat.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl with
// `block_bytes`, lib/x_halves*.wgsl.

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
    var sums: array<array<i32, MAX_ROWS>, MAX_OUTS>;
    let n_steps = arm.blocks * 2u + (row_first & params.zero); // See lib/lane_tile.wgsl.
    for (var step = 0u; step < n_steps; step += 1u) {
        for (var r = 0u; r < ROWS; r += 2u) {
            let x = x_halves(lid, vec2(rows[r], rows[r + 1u]), 0u, step / 2u, step % 2u);
            values[r] = array(x[0], x[1], x[2], x[3]);
            values[r + 1u] = array(x[4], x[5], x[6], x[7]);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            let w = unpack_half(weights[i], step / 2u, step % 2u);
            for (var r = 0u; r < ROWS; r += 1u) {
                sums[i][r] += i32(dot_16(w, values[r]));
            }
        }
    }
    // Copies are few, and their weights lie anywhere.
    for (var copy = 0u; copy < n_copies(arm); copy += 1u) {
        let column = copied_column(copy);
        var bytes: array<i32, MAX_ROWS>;
        for (var r = 0u; r < ROWS; r += 1u) {
            bytes[r] = signed(copy_of(rows[r], copy));
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            let w = signed(byte_of(weights[i], column));
            for (var r = 0u; r < ROWS; r += 1u) {
                sums[i][r] += w * bytes[r];
            }
        }
    }
    for (var r = 0u; r < ROWS; r += 1u) {
        let scale = row_scale(rows[r]);
        for (var i = 0u; i < OUTS; i += 2u) {
            let w_scale = vec2(block_scale(weights[i], 0u), block_scale(weights[i + 1u], 0u));
            let products = scale * w_scale * vec2(f32(sums[i][r]), f32(sums[i + 1u][r]));
            store(arm, row_first + r, first + i, products);
        }
    }
}

// Half a block of w as it is stored, without its scale.
fn unpack_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let a = block_bytes(row, block, half);
    return array(signed_bytes(a.x), signed_bytes(a.y), signed_bytes(a.z), signed_bytes(a.w));
}

fn signed(byte: u32) -> i32 {
    return extractBits(bitcast<i32>(byte), 0u, 8u);
}
