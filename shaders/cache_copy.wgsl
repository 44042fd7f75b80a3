// What goes into the cache of a routed layer as it is: of a dense row its values, out of
// qkv = [q heads, k heads, v heads], of a latent row c_k and c_v, out of the columns of
// latents = [.., c_k, .., c_v, ..]. Keys are cache_write.wgsl's. A padding row writes nothing.
//
// One workgroup WG quads of a row. Dispatch (ceil(max(kv_dim, k_cols + v_cols) / (4 * WG)), rows, 1).
// Joins: lib/rows.wgsl, lib/paths.wgsl, lib/store_*.wgsl, lib/store_values_*.wgsl.
// Host side: src/kernels/cache_copy.rs. CPU twin: src/reference/cache_copy.rs.

struct Params {
    rows: u32,
    qkv_cols: u32,
    kv_dim: u32,
    n_ctx: u32,
    n_latent_ctx: u32,
    n_positions: u32,
    latents_cols: u32,
    k_first: u32,
    k_cols: u32,
    v_first: u32,
    v_cols: u32,
    head_dim: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;     // [rows, qkv_cols], the last kv_dim of them values
@group(0) @binding(3) var<storage, read> latents: array<vec4<f32>>; // [rows, latents_cols]
// paths at binding 6
// c at binding 8                                       [n_sequences, n_latent_ctx, k_cols + v_cols]
// values at binding 9                                  [n_sequences, kv_dim / head_dim, n_ctx, head_dim]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn cache_copy(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = rows[wg.y];
    if row.position == PADDING {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let i = wg.x * WG + lid;
    if is_latent(row.sequence, row.position) {
        let k_quads = params.k_cols / 4u;
        let n_quads = k_quads + params.v_cols / 4u;
        // Invocations beyond the row repeat its last quad: they must share the barriers.
        let mine = min(i, n_quads - 1u);
        let at = select(params.k_first / 4u + mine, params.v_first / 4u + mine - k_quads, mine >= k_quads);
        let quad = latents[wg.y * (params.latents_cols / 4u) + at];
        let slot = row.sequence * params.n_latent_ctx + n_latent(row.sequence, row.position) - 1u;
        store(lid, slot * n_quads + i, quad, i < n_quads);
    } else {
        let n_quads = params.kv_dim / 4u;
        let end = (wg.y + 1u) * (params.qkv_cols / 4u);
        let quad = qkv[end - n_quads + min(i, n_quads - 1u)];
        let head_quads = params.head_dim / 4u;
        let head = row.sequence * (n_quads / head_quads) + i / head_quads;
        let slot = head * params.n_ctx + n_dense(row.sequence, row.position) - 1u;
        store_value(lid, slot * head_quads + i % head_quads, quad, i < n_quads);
    }
}
