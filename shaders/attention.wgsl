// y[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * v[t, g, :]
// over the cached positions t of row r's sequence, from max(0, position + 1 - window) to its
// own position; g = h / (n_heads / n_kv_heads). With softcap > 0 a score s becomes
// softcap * tanh(s / softcap).
//
// One workgroup a row and head, over tiles of WG keys with a running maximum and sum
// (online softmax, Milakov & Gimelshein 2018). head_dim at most 4 * WG.
// Dispatch (n_heads, rows, 1). Joins: lib/rows.wgsl, lib/cache_*.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/attention.rs. CPU twin: src/reference/attention.rs.

struct Params {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    n_ctx: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;       // [rows, n_heads, head_dim]
@group(0) @binding(3) var<storage, read> k: array<Cached4>;         // [n_sequences, n_ctx, n_kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> v: array<Cached4>;         // [n_sequences, n_ctx, n_kv_heads, head_dim]
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // [rows, n_heads, head_dim]

override WG: u32 = 128u;

var<workgroup> query: array<vec4<f32>, WG>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> partial: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn attention(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let head = wg.x;
    let row = rows[wg.y];
    let n_quads = params.head_dim / 4u;
    let q_first = (wg.y * params.n_heads + head) * n_quads;
    let kv_stride = params.n_kv_heads * n_quads;
    let kv_first = row.sequence * params.n_ctx * kv_stride
        + head / (params.n_heads / params.n_kv_heads) * n_quads;
    let end = select(row.position + 1u, 0u, row.position == PADDING);
    let start = end - min(end, params.window);
    if lid < n_quads {
        query[lid] = q[q_first + lid] * params.scale;
    }
    workgroupBarrier();

    // For the values, invocations stand in teams of n_quads, one a quad of the head.
    let n_teams = WG / n_quads;
    let team = lid / n_quads;
    let quad = lid % n_quads;
    var most = -3.0e38;
    var sum = 0.0;
    var acc = vec4(0.0);
    for (var tile = start; tile < end; tile += WG) {
        let t = tile + lid;
        var score = -3.0e38;
        if t < end {
            let key = kv_first + t * kv_stride;
            var products = vec4(0.0);
            for (var i = 0u; i < n_quads; i += 1u) {
                products += query[i] * cache_load(k[key + i]);
            }
            score = products.x + products.y + products.z + products.w;
            if params.softcap > 0.0 {
                // |x| is clamped because tanh may be computed through exp(2x).
                score = params.softcap * tanh(clamp(score / params.softcap, -20.0, 20.0));
            }
        }
        let new_most = max(most, workgroup_max(lid, score));
        let weight = select(0.0, exp(score - new_most), t < end);
        let shrink = exp(most - new_most);
        sum = sum * shrink + workgroup_sum(lid, weight);
        most = new_most;
        weights[lid] = weight;
        workgroupBarrier();
        acc *= shrink;
        if team < n_teams {
            for (var i = team; i < min(WG, end - tile); i += n_teams) {
                acc += weights[i] * cache_load(v[kv_first + (tile + i) * kv_stride + quad]);
            }
        }
        workgroupBarrier();
    }

    partial[lid] = acc;
    workgroupBarrier();
    if lid < n_quads {
        var total = vec4(0.0);
        for (var i = 0u; i < n_teams; i += 1u) {
            total += partial[i * n_quads + lid];
        }
        // A padding row has no keys: its output is zero.
        y[q_first + lid] = select(total / sum, vec4(0.0), end == 0u);
    }
}
