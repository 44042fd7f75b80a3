// The records of an attention merged to its result, for products of many rows, which take their input
// as it is: see lib/input_merge.wgsl for the formula.
//
// One invocation a quad. With G = ceil(rows * cols / 4 / WG): dispatch (min(G, 65535), ceil(G / 65535), 1).
// Joins: lib/input_merge.wgsl.
// Host side: src/kernels/attention_merge.rs. CPU twin: `merge` in src/reference/attention.rs.

struct Params {
    rows: u32,
    cols: u32,
    head_dim: u32,
    n_splits: u32,
    n_apart: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x at binding 3
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>; // [rows, cols]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn attention_merge(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wg.x + wg.y * 65535u) * WG + lid;
    let n_quads = params.cols / 4u;
    if i < params.rows * n_quads {
        y[i] = input_quad(i / n_quads, i % n_quads);
    }
}
