// Params of the kernels that decide the branches of a step's rows and place them. Joins: lib/rows.wgsl,
// lib/routes.wgsl.

struct Params {
    rows: u32,
    cols: u32,
    n_ctx: u32,
    layer: u32,
    dense_tokens: u32,
    silu: u32,
    has_low_attention: u32,
    has_low_ffn: u32,
    all_dense: u32,
    places: u32,
    eps: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
// Flat, because storing one component of a vector may touch the others.
@group(0) @binding(7) var<storage, read_write> routes: array<u32>;  // [rows, 4], see lib/routes.wgsl
