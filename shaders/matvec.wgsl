// y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n]
//
// For few rows. WG / LANES outputs a workgroup, LANES invocations each; neighbouring
// lanes read neighbouring blocks of w. With G = ceil(outs / (WG / LANES)):
// Dispatch (min(G, 65535), ceil(G / 65535), rows).
// Joins: lib/weight_*.wgsl, lib/reduce.wgsl or lib/reduce_subgroup.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    outs: u32,
    y_first: u32,
    y_cols: u32,
    has_bias: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2                                               [outs, cols]
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(4) var<storage, read> bias: array<f32>;          // [y_cols], or one zero
@group(0) @binding(5) var<storage, read_write> y: array<f32>;       // [rows, y_cols]

override WG: u32 = 64u;
override LANES: u32 = 16u;

@compute @workgroup_size(WG)
fn matvec(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let n = (wg.x + wg.y * 65535u) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let w_row = min(n, params.outs - 1u); // No early return before the barriers of the sum.
    let n_quads = params.cols / 4u;
    let x_first = wg.z * n_quads;
    var sum = vec4(0.0);
    for (var block = lane; block < params.blocks; block += LANES) {
        let w = decode_block(w_row, block);
        let at = block * 8u;
        // The last block of a row may be cut: past it w is zero, and x must not be read.
        let last = n_quads - 1u;
        sum += w[0] * x[x_first + at];
        sum += w[1] * x[x_first + min(at + 1u, last)];
        sum += w[2] * x[x_first + min(at + 2u, last)];
        sum += w[3] * x[x_first + min(at + 3u, last)];
        sum += w[4] * x[x_first + min(at + 4u, last)];
        sum += w[5] * x[x_first + min(at + 5u, last)];
        sum += w[6] * x[x_first + min(at + 6u, last)];
        sum += w[7] * x[x_first + min(at + 7u, last)];
    }
    var total = lanes_sum(lid, LANES, sum.x + sum.y + sum.z + sum.w);
    if lane == 0u && n < params.outs {
        let column = params.y_first + n;
        if params.has_bias != 0u {
            total += bias[column];
        }
        y[wg.z * params.y_cols + column] = total;
    }
}
