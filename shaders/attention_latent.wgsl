// Attention of a row over the latent rows of its sequence: see lib/attention.wgsl for the formula and
// the splits. Values are v_cols columns of a latent row, from v_first on, the same for all heads; y is
//     [rows, n_splits, n_heads, v_cols + 4]
// always records: z[r, h, :] = sum over t of softmax_t(..) * c_v[t, :], and the split's state.
//
// One workgroup a row, split and up to 4 query heads that share a key head, over tiles of WG keys with a
// running maximum and sum. An invocation sums up PER quads of the values, WG apart.
// Dispatch (n_kv_heads * ceil(n_heads / n_kv_heads / 4), n_splits, rows).
// Joins: lib/rows.wgsl, lib/paths.wgsl, lib/attention.wgsl, lib/keys_latent.wgsl, lib/cache_*.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/attention_latent.rs. CPU twin: src/reference/attention_latent.rs.

override WG: u32 = 64u;
override PER: u32 = 1u;

const MAX_PER: u32 = 8u;

var<workgroup> queries: array<mat4x4<f32>, QUADS>;
var<workgroup> weights: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn attention_latent(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = rows[wg.z];
    let split = split_of(row, wg.y);
    if wg.y > 0u && wg.y >= split.z {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let group = params.n_heads / params.n_kv_heads;
    let n_chunks = (group + 3u) / 4u;
    let kv_head = wg.x / n_chunks;
    let chunk = wg.x % n_chunks * 4u;
    let head = kv_head * group + chunk;
    let n_heads = min(group - chunk, 4u);
    for (var i = lid; i < QUADS; i += WG) {
        queries[i] = four_queries(wg.z, head, n_heads, i);
    }
    workgroupBarrier();

    let k_first = cached_at(row, kv_head);
    let v_stride = params.latent_cols / 4u;
    let v_first = row.sequence * params.n_ctx * v_stride + params.v_first / 4u;
    let v_quads = params.v_cols / 4u;
    var most = vec4(LEAST);
    var sum = vec4(0.0);
    var totals: array<mat4x4<f32>, MAX_PER>;
    for (var tile = split.x; tile < split.y; tile += WG) {
        let t = tile + lid;
        // Past the end the last key is read again, with no weight.
        let score = capped(scores_of(k_first + min(t, split.y - 1u) * QUADS));
        let new_most = max(most, lanes_max(lid, WG, score));
        let shrink = exp(most - new_most);
        let weight = select(vec4(0.0), exp(score - new_most), t < split.y);
        sum = sum * shrink + weight;
        most = new_most;
        weights[lid] = weight;
        workgroupBarrier();
        for (var part = 0u; part < PER; part += 1u) {
            // Beyond the last quad the last one is summed up again, and not stored.
            let quad = min(lid + part * WG, v_quads - 1u);
            var total = shrunk(totals[part], shrink);
            for (var i = 0u; i < min(WG, split.y - tile); i += 1u) {
                total += weighed(weights[i], value(v_first + (tile + i) * v_stride + quad));
            }
            totals[part] = total;
        }
        workgroupBarrier();
    }

    let sums = lanes_sum(lid, WG, sum);
    for (var h = 0u; h < n_heads; h += 1u) {
        let first = ((wg.z * params.n_splits + wg.y) * params.n_heads + head + h) * (v_quads + 1u);
        if split.z > 0u {
            for (var part = 0u; part < PER; part += 1u) {
                let quad = lid + part * WG;
                if quad < v_quads {
                    y[first + quad] = totals[part][h] / sums[h];
                }
            }
        }
        if lid == 0u {
            y[first + v_quads] = state(most[h], sums[h], split.z);
        }
    }
}

// One quad of the queries of four heads, scaled; of those beyond the last zeros.
fn four_queries(row: u32, head: u32, n_heads: u32, quad: u32) -> mat4x4<f32> {
    var queries: mat4x4<f32>;
    for (var i = 0u; i < n_heads; i += 1u) {
        queries[i] = q[(row * params.n_heads + head + i) * QUADS + quad] * params.scale;
    }
    return queries;
}

// The scores of the key at quad `at` for the four queries.
fn scores_of(at: u32) -> vec4<f32> {
    var scores = vec4(0.0);
    var quad = 0u;
    for (; quad + 8u <= QUADS; quad += 8u) {
        let k = key_block(at + quad);
        for (var i = 0u; i < 8u; i += 1u) {
            scores += k[i] * queries[quad + i];
        }
    }
    for (; quad < QUADS; quad += 1u) {
        scores += key(at + quad) * queries[quad];
    }
    return scores;
}
