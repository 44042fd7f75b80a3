// The keys of a routed layer: those of dense rows in one arena, those of latent rows in another behind
// it, or nowhere. Values are left to cache_copy.wgsl. Joins: lib/rows.wgsl, lib/paths.wgsl, lib/store_*.wgsl.

const NOWHERE: u32 = 0xffffffffu;

// Where the two arenas keep a head of a token's key, counted in heads.
fn place(row: Row, kv_head: u32) -> u32 {
    if row.position == PADDING {
        return NOWHERE;
    }
    let head = row.sequence * params.n_kv_heads + kv_head;
    if is_latent(row.sequence, row.position) {
        let first = params.k_first * params.n_kv_heads + head * params.n_latent_ctx;
        let at = first + n_latent(row.sequence, row.position) - 1u;
        return select(at, NOWHERE, params.n_latent_ctx == 0u);
    }
    return head * params.n_ctx + n_dense(row.sequence, row.position) - 1u;
}

fn keep(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    store(lid, at, quad, is_real);
}
