// Params, bindings and splits of the attention kernels, over heads of 4 * QUADS elements:
//     y[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * v[t, g, :]
// over the cached positions t of row r's sequence, from max(0, position + 1 - window) to its
// own position; g = h / (n_heads / n_kv_heads). With softcap > 0 a score s becomes
// softcap * tanh(s / softcap). A padding row has no keys.
//
// With n_splits > 1 a row's keys are shared out among splits, whole tiles of SPLIT_KEYS to each, and
// y holds a record for each split and head: its own result, then (max, sum, n_live, 0), where max
// and sum are those of its softmax and n_live says how many splits have keys. The others write
// nothing; of a padding row the first writes four zeros. Host side: src/kernels/attention.rs.
// Joins: lib/rows.wgsl.

struct Params {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    n_ctx: u32,
    window: u32,
    scale: f32,
    softcap: f32,
    n_splits: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;       // [rows, n_heads, head_dim]
// k and v at bindings 3 and 4                          [n_sequences, n_ctx, n_kv_heads, head_dim]
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // [rows, n_heads, head_dim], or
                                                    // [rows, n_splits, n_heads, head_dim + 4]

override QUADS: u32 = 16u;

const SPLIT_KEYS: u32 = 128u;
const LEAST: f32 = -3.0e38;

// The keys that a row sees: from x to before y.
fn keys_of(row: Row) -> vec2<u32> {
    let end = select(row.position + 1u, 0u, row.position == PADDING);
    return vec2(end - min(end, params.window), end);
}

// The keys of one split: from x to before y, and z, the number of splits that have keys.
fn split_of(row: Row, split: u32) -> vec3<u32> {
    let keys = keys_of(row);
    let n_keys = keys.y - keys.x;
    let n_tiles = (n_keys + SPLIT_KEYS - 1u) / SPLIT_KEYS;
    let n_each = max((n_tiles + params.n_splits - 1u) / params.n_splits, 1u) * SPLIT_KEYS;
    let start = keys.x + split * n_each;
    return vec3(start, min(start + n_each, keys.y), (n_keys + n_each - 1u) / n_each);
}

// The first quad of a key or value head in the cache.
fn cached_at(row: Row, position: u32, kv_head: u32) -> u32 {
    return ((row.sequence * params.n_ctx + position) * params.n_kv_heads + kv_head) * QUADS;
}

// The first quad of a result.
fn y_at(row: u32, split: u32, head: u32) -> u32 {
    let stride = select(QUADS + 1u, QUADS, params.n_splits == 1u);
    return ((row * params.n_splits + split) * params.n_heads + head) * stride;
}

// What a split's record ends with.
fn state(most: f32, sum: f32, n_live: u32) -> vec4<f32> {
    return select(vec4(most, sum, f32(n_live), 0.0), vec4(0.0), n_live == 0u);
}

fn capped(score: vec4<f32>) -> vec4<f32> {
    if params.softcap > 0.0 {
        // |x| is clamped because tanh may be computed through exp(2x).
        return params.softcap * tanh(clamp(score / params.softcap, vec4(-20.0), vec4(20.0)));
    }
    return score;
}

// Four query heads (or rows) are the columns of a matrix, so that key * queries are their scores.
// What they have summed up so far, shrunk to a larger maximum:
fn shrunk(sums: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(sums[0] * by.x, sums[1] * by.y, sums[2] * by.z, sums[3] * by.w);
}

// What a value adds to the four.
fn weighed(weights: vec4<f32>, value: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(value * weights.x, value * weights.y, value * weights.z, value * weights.w);
}
