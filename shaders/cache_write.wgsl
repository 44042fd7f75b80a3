// Each head of qkv = [q heads, k heads, v heads]: queries and keys are normed where has_norm, and
// rotated; queries go to q, keys and values into the cache at their row's sequence and position.
//     norm:   x / sqrt(mean(x^2) + eps) * gains, over the head
//     rotary: for pair p, with (cos, sin) of the row's position, x[a] * cos - x[b] * sin and
//             x[b] * cos + x[a] * sin, where (a, b) is (p, p + rotary_dim / 2), or (2p, 2p + 1)
//             where `interleaved`; dimensions from rotary_dim on stay as they are
// A padding row writes nothing into the cache; its queries are rotated as at position 0. In a routed
// layer keys go to the arena of their row's branch, and values to none: see cache_copy.wgsl.
//
// The table is made on the host in f64: WGSL's own sin and cos promise only 2^-11.
// One workgroup a head of a row, one invocation a quad. WG is at least head_dim / 4.
// Dispatch (n_heads + 2 * n_kv_heads, rows, 1), or (n_heads + n_kv_heads, rows, 1) in a routed layer.
// Joins: lib/rows.wgsl, lib/place_*.wgsl, lib/store_*.wgsl, lib/head_plain.wgsl or lib/head_norm.wgsl.
// Host side: src/kernels/cache_write.rs. CPU twin: src/reference/cache_write.rs.

struct Params {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    n_ctx: u32,
    rotary_dim: u32,
    interleaved: u32,
    has_norm: u32,
    eps: f32,
    n_positions: u32,
    n_latent_ctx: u32,
    k_first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> table: array<vec2<f32>>;   // [n_ctx, rotary_dim / 2] (cos, sin)
@group(0) @binding(3) var<storage, read> qkv: array<vec4<f32>>;     // [rows, n_heads + 2 * n_kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> q_gains: array<vec4<f32>>; // [head_dim], or unused
@group(0) @binding(5) var<storage, read> k_gains: array<vec4<f32>>; // [head_dim], or unused
// paths at binding 6 where they are needed
@group(0) @binding(7) var<storage, read_write> q: array<vec4<f32>>; // [rows, n_heads, head_dim]
// keys and values at bindings 8 and 9                  [n_sequences, n_kv_heads, n_ctx, head_dim]

override WG: u32 = 16u;
override PAIRS: u32 = 1u;

// PAIRS says where the others of a quad's four pairs are: with 0 anywhere.
const IN_ANOTHER_QUAD: u32 = 1u;
const IN_THE_SAME_QUAD: u32 = 2u;

@compute @workgroup_size(WG)
fn cache_write(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let n_quads = params.head_dim / 4u;
    let n_rotated = params.n_heads + params.n_kv_heads;
    let row = rows[wg.y];
    let first = (wg.y * (n_rotated + params.n_kv_heads) + wg.x) * n_quads;
    let is_query = wg.x < params.n_heads;
    // Invocations beyond the head repeat its last quad: they must share the barriers.
    let mine = min(lid, n_quads - 1u);
    var quad = qkv[first + mine];
    if wg.x < n_rotated {
        let scale = head_scale(lid, select(0.0, dot(quad, quad), lid < n_quads));
        quad *= scale * gains(mine, is_query);
        if params.rotary_dim > 0u {
            let position = select(row.position, 0u, row.position == PADDING);
            quad = rotated(quad, first, mine, scale, is_query, position);
        }
    }
    if is_query {
        if lid < n_quads {
            q[(wg.y * params.n_heads + wg.x) * n_quads + lid] = quad;
        }
    } else {
        let is_key = wg.x < n_rotated;
        let kv_head = wg.x - select(n_rotated, params.n_heads, is_key);
        let to = place(row, kv_head);
        let is_real = lid < n_quads && to != NOWHERE;
        keep(lid, is_key, to * n_quads + lid, quad, is_real);
    }
}

// Quad `mine`, x, of the query or key head from quad `first` on, rotated.
fn rotated(x: vec4<f32>, first: u32, mine: u32, scale: f32, is_query: bool, position: u32) -> vec4<f32> {
    let n_pairs = params.rotary_dim / 2u;
    let i = 4u * mine + vec4(0u, 1u, 2u, 3u);
    var pair = i % n_pairs;
    var is_a = i < vec4(n_pairs);
    let others = select(i - n_pairs, i + n_pairs, is_a);
    var other: vec4<f32>;
    if PAIRS == IN_THE_SAME_QUAD {
        pair = min(i / 2u, vec4(n_pairs - 1u));
        is_a = i % 2u == vec4(0u);
        other = x.yxwz;
    } else if PAIRS == IN_ANOTHER_QUAD {
        let at = others.x / 4u;
        other = qkv[first + at] * scale * gains(at, is_query);
    } else {
        for (var j = 0u; j < 4u; j += 1u) {
            let at = others[j] / 4u;
            other[j] = (qkv[first + at] * scale * gains(at, is_query))[others[j] % 4u];
        }
    }
    let t = position * n_pairs + pair;
    let angles = array(table[t.x], table[t.y], table[t.z], table[t.w]);
    let cos = vec4(angles[0].x, angles[1].x, angles[2].x, angles[3].x);
    let sin = vec4(angles[0].y, angles[1].y, angles[2].y, angles[3].y);
    let y = x * cos + other * select(sin, -sin, is_a);
    return select(x, y, i < vec4(params.rotary_dim));
}

fn gains(quad: u32, is_query: bool) -> vec4<f32> {
    if params.has_norm == 0u {
        return vec4(1.0);
    }
    return select(k_gains[quad], q_gains[quad], is_query);
}
