// Params, bindings and splits of the attention kernels, over heads of 4 * QUADS elements:
//     y[r, h, :] = sum over t of softmax_t(scale * dot(q[r, h, :], k[t, g, :])) * v[t, g, :]
// over the cached keys t that row r sees, which lib/keys_*.wgsl says; g = h / (n_heads / n_kv_heads).
// With softcap > 0 a score s becomes softcap * tanh(s / softcap). A padding row has no keys.
//
// With n_splits > 1, or n_apart > 0, a row's keys are shared out among splits, whole tiles of SPLIT_KEYS to each, and
// y holds a record for each split and head: its own result, then (max, sum, n_live, 0), where max
// and sum are those of its softmax and n_live says how many splits have keys. The others write
// nothing; of a row without keys the first writes four zeros. The n_apart records behind those of
// the splits are written by others. Host side: src/kernels/attention.rs.
// Joins: lib/rows.wgsl, lib/keys_*.wgsl.

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
    n_apart: u32,
    n_positions: u32,
    k_first: u32,
    latent_cols: u32,
    v_first: u32,
    v_cols: u32,
    zero: u32, // 0, which no compiler can know.
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;       // [rows, n_heads, head_dim]
// k and v at bindings 3 and 4                          [n_sequences, n_kv_heads, n_ctx, head_dim]
// paths at binding 6 where they are needed
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>; // [rows, n_heads, head_dim], or
                                                    // [rows, n_splits + n_apart, n_heads, head_dim + 4]

override QUADS: u32 = 16u;

const SPLIT_KEYS: u32 = 128u;
const LEAST: f32 = -3.0e38;

// The keys of one split: from x to before y, and z, the number of splits that have keys.
fn split_of(row: Row, split: u32) -> vec3<u32> {
    let keys = keys_of(row);
    let n_keys = keys.y - keys.x;
    let n_tiles = (n_keys + SPLIT_KEYS - 1u) / SPLIT_KEYS;
    let n_each = max((n_tiles + params.n_splits - 1u) / params.n_splits, 1u) * SPLIT_KEYS;
    let start = keys.x + split * n_each;
    return vec3(start, min(start + n_each, keys.y), (n_keys + n_each - 1u) / n_each);
}

// The first quad of a key or value head of a sequence's first key; the others follow it.
fn cached_at(row: Row, kv_head: u32) -> u32 {
    let head = row.sequence * params.n_kv_heads + kv_head;
    return (params.k_first * params.n_kv_heads + head * params.n_ctx) * QUADS;
}

// Whether y holds records.
fn has_records() -> bool {
    return params.n_splits + params.n_apart > 1u;
}

// The first quad of a result.
fn y_at(row: u32, split: u32, head: u32) -> u32 {
    let stride = select(QUADS, QUADS + 1u, has_records());
    return ((row * (params.n_splits + params.n_apart) + split) * params.n_heads + head) * stride;
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
