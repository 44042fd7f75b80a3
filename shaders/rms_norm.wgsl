// y[r, c] = x[r, c] / sqrt(mean(x[r, :]^2) + eps) * weight[c]
//
// One workgroup per row. Dispatch (min(rows, 65535), ceil(rows / 65535), 1).
// Joins: lib/reduce.wgsl or lib/reduce_subgroup.wgsl.
// Host side: src/kernels/rms_norm.rs. CPU twin: src/reference/rms_norm.rs.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;  // [cols]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [rows, cols]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn rms_norm(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = wg.x + wg.y * 65535u;
    if row >= params.rows {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let n_quads = params.cols / 4u;
    let first = row * n_quads;
    var sum_sq = 0.0;
    for (var quad = lid; quad < n_quads; quad += WG) {
        let v = x[first + quad];
        sum_sq += dot(v, v);
    }
    let mean_sq = lanes_sum(lid, WG, vec4(sum_sq)).x / f32(params.cols);
    let scale = inverseSqrt(mean_sq + params.eps);
    for (var quad = lid; quad < n_quads; quad += WG) {
        y[first + quad] = x[first + quad] * scale * weight[quad];
    }
}
