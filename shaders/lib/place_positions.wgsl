// A cache that has each row at its position, keys and values. Joins: lib/rows.wgsl, lib/store_*.wgsl,
// lib/store_values_*.wgsl.

const NOWHERE: u32 = 0xffffffffu;

// The row of the cache that keeps a token's key and value.
fn place(row: Row) -> u32 {
    return select(row.sequence * params.n_ctx + row.position, NOWHERE, row.position == PADDING);
}

fn keep(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_key {
        store(lid, at, quad, is_real);
    } else {
        store_value(lid, at, quad, is_real);
    }
}
