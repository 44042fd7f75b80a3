// Attention of few rows: see lib/attention.wgsl for the formula, the bindings and the splits.
//
// One workgroup a row, split and up to 4 * FOURS query heads that share a key/value head, so that
// keys and values are read once for all of them; over tiles of WG keys with a running maximum
// and sum (online softmax, Milakov & Gimelshein 2018). head_dim is 4 * QUADS, at most 4 * WG.
// Dispatch (n_kv_heads * ceil(n_heads / n_kv_heads / (4 * FOURS)), n_splits, rows).
// Joins: lib/rows.wgsl, lib/attention.wgsl, lib/keys_*.wgsl, lib/cache_*.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/attention.rs. CPU twin: src/reference/attention.rs.

override WG: u32 = 128u;
override FOURS: u32 = 1u;

const MAX_FOURS: u32 = 2u;

var<workgroup> queries: array<mat4x4<f32>, FOURS * QUADS>;
var<workgroup> weights: array<vec4<f32>, FOURS * WG>;

@compute @workgroup_size(WG)
fn attention(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = rows[wg.z];
    let split = split_of(row, wg.y);
    if wg.y > 0u && wg.y >= split.z {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let group = params.n_heads / params.n_kv_heads;
    let n_chunks = (group + 4u * FOURS - 1u) / (4u * FOURS);
    let kv_head = wg.x / n_chunks;
    let chunk = wg.x % n_chunks * 4u * FOURS;
    let head = kv_head * group + chunk;
    let n_heads = min(group - chunk, 4u * FOURS);
    for (var i = lid; i < FOURS * QUADS; i += WG) {
        queries[i] = four_queries(wg.z, head, n_heads, i / QUADS * 4u, i % QUADS);
    }
    workgroupBarrier();

    // For the values, invocations stand in teams of QUADS, one a quad of the head.
    let n_teams = WG / QUADS;
    let team = lid / QUADS;
    let quad = lid % QUADS;
    let kv_first = cached_at(row, kv_head);
    var most: array<vec4<f32>, MAX_FOURS>;
    var sums: array<vec4<f32>, MAX_FOURS>;
    var totals: array<mat4x4<f32>, MAX_FOURS>;
    for (var f = 0u; f < FOURS; f += 1u) {
        most[f] = vec4(LEAST);
    }
    for (var tile = split.x; tile < split.y; tile += WG) {
        let t = tile + lid;
        // Past the end the last key is read again, with no weight.
        let scores = scores_of(kv_first + min(t, split.y - 1u) * QUADS);
        for (var f = 0u; f < FOURS; f += 1u) {
            let score = capped(scores[f]);
            let new_most = max(most[f], lanes_max(lid, WG, score));
            let shrink = exp(most[f] - new_most);
            let weight = select(vec4(0.0), exp(score - new_most), t < split.y);
            sums[f] = sums[f] * shrink + weight;
            totals[f] = shrunk(totals[f], shrink);
            most[f] = new_most;
            weights[f * WG + lid] = weight;
        }
        workgroupBarrier();
        if team < n_teams {
            for (var i = team; i < min(WG, split.y - tile); i += n_teams) {
                let v = value(kv_first + (tile + i) * QUADS + quad);
                for (var f = 0u; f < FOURS; f += 1u) {
                    totals[f] += weighed(weights[f * WG + i], v);
                }
            }
        }
        workgroupBarrier();
    }

    for (var f = 0u; f < FOURS; f += 1u) {
        let sum = lanes_sum(lid, WG, sums[f]);
        for (var i = 0u; i < 4u; i += 1u) {
            weights[lid] = totals[f][i];
            workgroupBarrier();
            let h = 4u * f + i;
            let first = y_at(wg.z, wg.y, head + h);
            if h < n_heads && lid < QUADS && split.z > 0u {
                var total = vec4(0.0);
                for (var at = lid; at < n_teams * QUADS; at += QUADS) {
                    total += weights[at];
                }
                y[first + lid] = total / sum[i];
            }
            if h < n_heads && lid < QUADS && split.z == 0u && !has_records() {
                y[first + lid] = vec4(0.0);
            }
            if h < n_heads && lid == 0u && has_records() {
                y[first + QUADS] = state(most[f][i], sum[i], split.z);
            }
            workgroupBarrier();
        }
    }
}

// One quad of the queries of four heads, scaled; of those beyond the last zeros.
fn four_queries(row: u32, head: u32, n_heads: u32, first: u32, quad: u32) -> mat4x4<f32> {
    var queries: mat4x4<f32>;
    for (var i = 0u; i < 4u; i += 1u) {
        if first + i < n_heads {
            let at = (row * params.n_heads + head + first + i) * QUADS + quad;
            queries[i] = q[at] * params.scale;
        }
    }
    return queries;
}

// The scores of the key at quad `at` for every query.
fn scores_of(at: u32) -> array<vec4<f32>, MAX_FOURS> {
    var scores: array<vec4<f32>, MAX_FOURS>;
    var quad = 0u;
    for (; quad + 8u <= QUADS; quad += 8u) {
        let k = key_block(at + quad);
        for (var f = 0u; f < FOURS; f += 1u) {
            let i = f * QUADS + quad;
            scores[f] += k[0] * queries[i] + k[1] * queries[i + 1u] + k[2] * queries[i + 2u]
                + k[3] * queries[i + 3u] + k[4] * queries[i + 4u] + k[5] * queries[i + 5u]
                + k[6] * queries[i + 6u] + k[7] * queries[i + 7u];
        }
    }
    for (; quad < QUADS; quad += 1u) {
        let k = key(at + quad);
        for (var f = 0u; f < FOURS; f += 1u) {
            scores[f] += k * queries[f * QUADS + quad];
        }
    }
    return scores;
}
