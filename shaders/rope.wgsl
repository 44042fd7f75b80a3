// Rotary embedding: for pair p of each head, with (cos, sin) of the row's position,
// y[a] = x[a] * cos - x[b] * sin and y[b] = x[b] * cos + x[a] * sin, where (a, b) is
// (p, p + rotary_dim / 2), or (2p, 2p + 1) where `interleaved`. Dimensions from rotary_dim on are copied.
//
// The table is made on the host in f64: WGSL's own sin and cos promise only 2^-11.
// One invocation a pair. Dispatch (ceil(n_heads * head_dim / 2 / WG), rows, 1).
// Joins: lib/rows.wgsl. Host side: src/kernels/rope.rs. CPU twin: src/reference/rope.rs.

struct Params {
    rows: u32,
    n_heads: u32,
    head_dim: u32,
    rotary_dim: u32,
    interleaved: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> table: array<vec2<f32>>;   // [n_ctx, rotary_dim / 2] (cos, sin)
@group(0) @binding(3) var<storage, read> x: array<f32>;             // [rows, n_heads * head_dim]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // [rows, n_heads * head_dim]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn rope(@builtin(global_invocation_id) id: vec3<u32>) {
    let half = params.head_dim / 2u;
    if id.x >= params.n_heads * half {
        return;
    }
    let pair = id.x % half;
    let head = (id.y * params.n_heads + id.x / half) * params.head_dim;
    let n_pairs = params.rotary_dim / 2u;
    if pair >= n_pairs {
        let at = head + 2u * pair; // n_pairs pairs are rotated, so the rest begins at rotary_dim.
        y[at] = x[at];
        y[at + 1u] = x[at + 1u];
        return;
    }
    var a = head + pair;
    var b = a + n_pairs;
    if params.interleaved != 0u {
        a = head + 2u * pair;
        b = a + 1u;
    }
    let position = rows[id.y].position;
    let angle = table[select(position, 0u, position == PADDING) * n_pairs + pair];
    y[a] = x[a] * angle.x - x[b] * angle.y;
    y[b] = x[b] * angle.x + x[a] * angle.y;
}
