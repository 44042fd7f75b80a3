// y[r, i] = act(x[r, i]) * x[r, cols + i]: gate and up side by side. With SiLU this is SwiGLU (Shazeer 2020).
//
// One invocation four elements. With G = ceil(rows * quads / WG): dispatch (min(G, 65535), ceil(G / 65535), 1).
// Joins: lib/activation.wgsl.
// Host side: src/kernels/gated_act.rs. CPU twin: src/reference/gated_act.rs.

struct Params {
    rows: u32,
    quads: u32,
    gelu: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, 2, 4 * quads]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [rows, 4 * quads]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn gated_act(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wg.x + wg.y * 65535u) * WG + lid;
    if i >= params.rows * params.quads {
        return;
    }
    let gate = i / params.quads * 2u * params.quads + i % params.quads;
    y[i] = activation(x[gate], params.gelu) * x[gate + params.quads];
}
