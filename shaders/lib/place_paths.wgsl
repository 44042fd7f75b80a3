// The keys of a routed layer: those of dense rows in one arena, those of latent rows in another behind
// it, or nowhere. Values are left to cache_copy.wgsl. Joins: lib/rows.wgsl, lib/paths.wgsl, lib/store_*.wgsl.

const NOWHERE: u32 = 0xffffffffu;

// The row of the two arenas that keeps a token's key.
fn place(row: Row) -> u32 {
    if row.position == PADDING {
        return NOWHERE;
    }
    if is_latent(row.sequence, row.position) {
        let slot = row.sequence * params.n_latent_ctx + n_latent(row.sequence, row.position) - 1u;
        return select(params.k_first + slot, NOWHERE, params.n_latent_ctx == 0u);
    }
    return row.sequence * params.n_ctx + n_dense(row.sequence, row.position) - 1u;
}

fn keep(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    store(lid, at, quad, is_real);
}
