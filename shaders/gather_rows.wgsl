// y[i, :] = x[out_rows[i], :]
//
// One invocation four elements. Dispatch (ceil(cols / 4 / WG), n_out, 1).
// Host side: src/kernels/gather_rows.rs. CPU twin: src/reference/gather_rows.rs.

struct Params {
    n_out: u32,
    cols: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> out_rows: array<u32>;      // [n_out]
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [n_out, cols]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn gather_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_quads = params.cols / 4u;
    if id.x < n_quads {
        y[id.y * n_quads + id.x] = x[out_rows[id.y] * n_quads + id.x];
    }
}
