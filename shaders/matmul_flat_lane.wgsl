// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n]), x in signed bytes with one scale
//
// As matmul_flat.wgsl, for devices on which an invocation is a lane of a CPU's vector register (see matvec_lane.wgsl):
// each makes a tile of ROWS rows by OUTS outputs by itself. Such devices multiply f32 faster than bytes: the products of
// a block sum up to less than 2^24, so that f32 holds them exactly, and go on in i32. The integers are the same.
// Dispatch (ceil(outs / (WG * OUTS)), ceil(rows / ROWS), 1); where rows are on several branches a
// row of workgroups more for each but one. OUTS is 2, 4, 6 or 8.
// Joins: lib/linear.wgsl, lib/input_flat.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl with
// `block_bytes`, lib/x_block*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;
override OUTS: u32 = 8u;
override ROWS: u32 = 16u;

const MAX_OUTS: u32 = 8u;
const MAX_ROWS: u32 = 16u;

@compute @workgroup_size(WG)
fn matmul_flat_lane(
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
    var sums: array<array<i32, MAX_ROWS>, MAX_OUTS>;
    for (var block = 0u; block < flat_blocks(arm); block += 1u) {
        for (var r = 0u; r < ROWS; r += 1u) {
            values[r] = flat_values(lid, rows[r], block);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            let w = flat_weights(weights[i], block);
            for (var r = 0u; r < ROWS; r += 1u) {
                sums[i][r] += i32(dot_32(w, values[r]));
            }
        }
    }
    var w_scales: array<f32, MAX_OUTS>;
    for (var i = 0u; i < OUTS; i += 1u) {
        w_scales[i] = block_scale(weights[i], 0u);
    }
    for (var r = 0u; r < ROWS; r += 1u) {
        let scale = row_scale(rows[r]);
        for (var i = 0u; i < OUTS; i += 2u) {
            let products = scale * vec2(w_scales[i], w_scales[i + 1u]) * vec2(f32(sums[i][r]), f32(sums[i + 1u][r]));
            store(arm, row_first + r, first + i, products);
        }
    }
}

// A block of a row's integers, its columns' or that of further copies.
fn flat_values(lid: u32, row: u32, block: u32) -> array<vec4<f32>, 8> {
    if block < params.blocks {
        return x_block(lid, row, 0u, block);
    }
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i += 1u) {
        values[i] = input_quad(row, block * 8u + i);
    }
    return values;
}

fn flat_weights(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let a = flat_bytes(row, block, 0u);
    let b = flat_bytes(row, block, 1u);
    return array(
        vec4<f32>(unpack4xI8(a.x)), vec4<f32>(unpack4xI8(a.y)),
        vec4<f32>(unpack4xI8(a.z)), vec4<f32>(unpack4xI8(a.w)),
        vec4<f32>(unpack4xI8(b.x)), vec4<f32>(unpack4xI8(b.y)),
        vec4<f32>(unpack4xI8(b.z)), vec4<f32>(unpack4xI8(b.w)),
    );
}
