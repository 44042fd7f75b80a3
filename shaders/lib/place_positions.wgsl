// A cache that has each row at its position, keys and values. Joins: lib/rows.wgsl, lib/store_*.wgsl,
// lib/store_values_*.wgsl.

const NOWHERE: u32 = 0xffffffffu;

// Where the cache keeps a head of a token's key and value, counted in heads.
fn place(row: Row, kv_head: u32) -> u32 {
    let first = (row.sequence * params.n_kv_heads + kv_head) * params.n_ctx;
    return select(first + row.position, NOWHERE, row.position == PADDING);
}

fn keep(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_key {
        store(lid, at, quad, is_real);
    } else {
        store_value(lid, at, quad, is_real);
    }
}
