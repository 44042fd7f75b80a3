// y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n]
//
// For few rows. An invocation works on OUTS neighbouring outputs, so that what it reads of x
// serves them all; LANES invocations share them, of which each reads its own blocks of w.
// A workgroup makes WG / LANES * OUTS outputs. With G = ceil(outs / that):
// Dispatch (min(G, 65535), ceil(G / 65535), rows).
// Joins: lib/linear.wgsl, lib/dot.wgsl, lib/x_block.wgsl, lib/weight_*.wgsl, lib/reduce.wgsl or lib/reduce_subgroup.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 64u;
override LANES: u32 = 16u;
override OUTS: u32 = 2u;

const MAX_OUTS: u32 = 8u;

@compute @workgroup_size(WG)
fn matvec(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let first = ((wg.x + wg.y * 65535u) * (WG / LANES) + lid / LANES) * OUTS;
    let lane = lid % LANES;
    let n_quads = params.cols / 4u;
    let x_first = wg.z * n_quads;
    var sums: array<f32, MAX_OUTS>;
    for (var block = lane; block < params.blocks; block += LANES) {
        let values = read_x(x_first, block * 8u, n_quads - 1u);
        let values_sum = sum_32(values);
        for (var i = 0u; i < OUTS; i += 1u) {
            // No early return before the barriers of the sum: outputs beyond the last repeat it.
            let n = min(first + i, params.outs - 1u);
            sums[i] += block_dot(n, block, values, values_sum);
        }
    }
    for (var i = 0u; i < OUTS; i += 1u) {
        var total = sums[i];
        if LANES > 1u {
            total = lanes_sum(lid, LANES, total);
        }
        if lane == 0u && first + i < params.outs {
            let column = params.y_first + first + i;
            if params.has_bias != 0u {
                total += bias[column];
            }
            y[wg.z * params.y_cols + column] = total;
        }
    }
}
