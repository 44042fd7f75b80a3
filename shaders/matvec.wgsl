// y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
//
// For few rows. The workgroup brings x into workgroup memory, piece by piece; LANES invocations
// share OUTS neighbouring outputs, each reads its own blocks of w and, once for all of them, of x.
// A workgroup makes WG / LANES * OUTS outputs of a row. With G = ceil(outs / that):
// Dispatch (min(G, 65535), ceil(G / 65535), rows). OUTS is 2, 4, 6 or 8.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 128u;
override LANES: u32 = 16u;
override OUTS: u32 = 4u;

const MAX_OUTS: u32 = 8u;
const PIECE: u32 = 64u; // Blocks of x at a time.
// A block is eight quads and one of padding, which keeps lanes that read neighbouring blocks off
// each other's banks.
const PITCH: u32 = 9u;

var<workgroup> x_piece: array<vec4<f32>, PIECE * PITCH>;

@compute @workgroup_size(WG)
fn matvec(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_row(wg.z);
    let group = (wg.x + wg.y * 65535u) * (WG / LANES) * OUTS;
    if group >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let first = group + lid / LANES * OUTS;
    let lane = lid % LANES;
    let n_quads = params.cols / 4u;
    var sums: array<f32, MAX_OUTS>;
    for (var piece = 0u; piece < arm.blocks; piece += PIECE / SIDES) {
        let n_blocks = min(PIECE / SIDES, arm.blocks - piece);
        workgroupBarrier(); // The last piece has been read.
        for (var side = 0u; side < SIDES; side += 1u) {
            for (var i = lid; i < n_blocks * 8u; i += WG) {
                let quad = piece * 8u + i;
                var values = vec4(0.0); // The last block may be cut: past it w is zero.
                if quad < n_quads {
                    values = input_quad(wg.z, side * n_quads + quad);
                }
                x_piece[(side * (PIECE / SIDES) + i / 8u) * PITCH + i % 8u] = values;
            }
        }
        workgroupBarrier();
        for (var block = lane; block < n_blocks; block += LANES) {
            for (var side = 0u; side < SIDES; side += 1u) {
                let at = (side * (PIECE / SIDES) + block) * PITCH;
                let values = array(
                    x_piece[at], x_piece[at + 1u], x_piece[at + 2u], x_piece[at + 3u],
                    x_piece[at + 4u], x_piece[at + 5u], x_piece[at + 6u], x_piece[at + 7u],
                );
                let values_sum = sum_32(values);
                for (var i = side; i < OUTS; i += SIDES) {
                    sums[i] += block_dot(weight_row(arm, first + i), piece + block, values, values_sum);
                }
            }
        }
    }
    let scale = input_scale(lid);
    for (var i = 0u; i < OUTS; i += 4u) {
        let mine = vec4(sums[i], sums[i + 1u], sums[i + 2u], sums[i + 3u]);
        let totals = scale * lanes_sum(lid, LANES, mine);
        if lane == 0u {
            store(arm, wg.z, first + i, totals.xy);
            if i + 2u < OUTS {
                store(arm, wg.z, first + i + 2u, totals.zw);
            }
        }
    }
}

fn readers_sum(lid: u32, value: f32) -> f32 {
    return lanes_sum(lid, WG, vec4(value)).x;
}
