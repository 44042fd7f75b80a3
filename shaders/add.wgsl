// y[i] = a[i] + b[i]
//
// One invocation four elements. With G = ceil(quads / WG): dispatch (min(G, 65535), ceil(G / 65535), 1).
// Host side: src/kernels/add.rs. CPU twin: src/reference/add.rs.

struct Params {
    quads: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;       // [4 * quads]
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;       // [4 * quads]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [4 * quads]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn add(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wg.x + wg.y * 65535u) * WG + lid;
    if i < params.quads {
        y[i] = a[i] + b[i];
    }
}
