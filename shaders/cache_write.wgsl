// cache[sequence of r, position of r, :] = x[r, :]
//
// One invocation four elements. Dispatch (ceil(kv_dim / 4 / WG), rows, 1).
// Joins: lib/rows.wgsl, lib/cache_*.wgsl.
// Host side: src/kernels/cache_write.rs. CPU twin: src/reference/cache_write.rs.

struct Params {
    rows: u32,
    kv_dim: u32,
    n_ctx: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;              // [rows]
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;           // [rows, kv_dim]
@group(0) @binding(3) var<storage, read_write> cache: array<Cached4>;   // [n_sequences, n_ctx, kv_dim]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn cache_write(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_quads = params.kv_dim / 4u;
    let row = rows[id.y];
    if id.x >= n_quads || row.position == PADDING {
        return;
    }
    let at = (row.sequence * params.n_ctx + row.position) * n_quads + id.x;
    cache[at] = cache_store(x[id.y * n_quads + id.x]);
}
