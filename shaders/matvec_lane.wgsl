// y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
//
// As matvec.wgsl, for devices on which an invocation is a lane of a CPU's vector register: a barrier
// stops a whole loop there, and reading memory is a loop over the lanes. Each invocation makes OUTS
// neighbouring outputs by itself, so that what it reads of x serves them all.
// With G = ceil(outs / (WG * OUTS)): dispatch (min(G, 65535), ceil(G / 65535), rows). OUTS is an even number up to 8, with two sides up to 16.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/walk*.wgsl, lib/x_block*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;
override OUTS: u32 = 8u;

// OUTS unless told otherwise: Mesa unrolls a loop as long as the array that it indexes, and what is not unrolled goes to
// memory.
const MAX_OUTS: u32 = 8u * SIDES;

@compute @workgroup_size(WG)
fn matvec_lane(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_row(wg.z);
    // The few outputs of low-rank rows are spread over the grid: each core takes a stretch of it.
    let stride = select(1u, max(params.outs / max(arm.outs, WG * OUTS), 1u), arm.is_low);
    let at = wg.x + wg.y * 65535u;
    let group = at / stride * WG * OUTS;
    if at % stride != 0u || group >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    make_outs(lid, wg.z, arm, group + lid * OUTS);
}

// In a function of its own, so that a workgroup which leaves does not first set its arrays to zero.
fn make_outs(lid: u32, row: u32, arm: Arm, first: u32) {
    // Found once: what an arm's rows of w are is not free.
    var weights: array<u32, MAX_OUTS>;
    for (var i = 0u; i < OUTS; i += 1u) {
        weights[i] = weight_row(arm, first + i);
    }
    var sums: array<f32, MAX_OUTS>;
    let lane = lid % 8u;
    sums[0] = f32(walk(arm, first - lane * OUTS, 8u * OUTS, lane) & params.zero);
    for (var block = 0u; block < arm.blocks; block += 1u) {
        for (var side = 0u; side < SIDES; side += 1u) {
            let values = x_block(lid, row, side, block);
            let values_sum = sum_32(values);
            for (var i = side; i < OUTS; i += SIDES) {
                sums[i] += block_dot(weights[i], block, values, values_sum);
            }
        }
    }
    let scale = input_scale(lid);
    for (var i = 0u; i < OUTS; i += 2u) {
        store(arm, row, first + i, scale * vec2(sums[i], sums[i + 1u]));
    }
}
