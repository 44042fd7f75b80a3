// Attention on devices where an invocation is a lane of a vector register, a read is a loop over the
// lanes and a barrier stops a whole loop: see lib/attention.wgsl for the formula, the bindings and the
// splits.
//
// One workgroup of eight invocations a row, split and up to 4 query heads that share a key/value head.
// It takes eight keys at a time: an invocation a key for the scores, which needs no sum over
// invocations, and an invocation a quad for the values, which needs none either; between the two the
// eight share their weights. HEADS at most 4, QUADS at most 32; everything else stays in registers.
// Dispatch (n_kv_heads * ceil(n_heads / n_kv_heads / HEADS), n_splits, rows).
// Joins: lib/rows.wgsl, lib/attention.wgsl, lib/keys_*.wgsl, lib/cache_*.wgsl, lib/share*.wgsl.
// Host side: src/kernels/attention.rs. CPU twin: src/reference/attention.rs.

override WG: u32 = 8u;
override HEADS: u32 = 4u;

@compute @workgroup_size(WG)
fn attention_lane(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = rows[wg.z];
    let split = split_of(row, wg.y);
    if wg.y > 0u && wg.y >= split.z {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let group = params.n_heads / params.n_kv_heads;
    let n_chunks = (group + HEADS - 1u) / HEADS;
    let kv_head = wg.x / n_chunks;
    let chunk = wg.x % n_chunks * HEADS;
    // The last chunk may have fewer heads: it computes its last one again.
    let last = group - chunk - 1u;
    let head = kv_head * group + chunk;
    let q_first = (wg.z * params.n_heads + head) * QUADS;
    // Blocks that a head does not have are left out when the constants are known.
    let queries_0 = share_queries(lid, q_first, 0u, last);
    var queries_1: array<mat4x4<f32>, 8>;
    var queries_2: array<mat4x4<f32>, 8>;
    var queries_3: array<mat4x4<f32>, 8>;
    if QUADS > 8u { queries_1 = share_queries(lid, q_first, 8u, last); }
    if QUADS > 16u { queries_2 = share_queries(lid, q_first, 16u, last); }
    if QUADS > 24u { queries_3 = share_queries(lid, q_first, 24u, last); }

    let kv_first = cached_at(row, kv_head);
    let kv_stride = params.n_kv_heads * QUADS;
    var most = vec4(LEAST);
    var sum = vec4(0.0);
    var total_0: mat4x4<f32>;
    var total_1: mat4x4<f32>;
    var total_2: mat4x4<f32>;
    var total_3: mat4x4<f32>;
    for (var tile = split.x; tile < split.y; tile += WG) {
        // Past the end the last key is read again, with no weight.
        let t = min(tile + lid, split.y - 1u);
        let at = kv_first + t * kv_stride;
        var score = block_scores(at, 0u, queries_0);
        if QUADS > 8u { score += block_scores(at, 8u, queries_1); }
        if QUADS > 16u { score += block_scores(at, 16u, queries_2); }
        if QUADS > 24u { score += block_scores(at, 24u, queries_3); }
        score = capped(score);
        let new_most = max(most, greatest(share(lid, score)));
        let shrink = exp(most - new_most);
        let weight = select(vec4(0.0), exp(score - new_most), tile + lid < split.y);
        sum = sum * shrink + weight;
        most = new_most;
        let weights = share(lid, weight);
        let last_at = kv_first + (split.y - 1u) * kv_stride;
        let v_at = kv_first + tile * kv_stride;
        total_0 = shrunk(total_0, shrink) + block_values(lid, v_at, last_at, 0u, weights);
        if QUADS > 8u { total_1 = shrunk(total_1, shrink) + block_values(lid, v_at, last_at, 8u, weights); }
        if QUADS > 16u { total_2 = shrunk(total_2, shrink) + block_values(lid, v_at, last_at, 16u, weights); }
        if QUADS > 24u { total_3 = shrunk(total_3, shrink) + block_values(lid, v_at, last_at, 24u, weights); }
    }

    let sums = added(share(lid, sum));
    // A row may have no keys: its result is zero.
    let factor = select(1.0 / sums, vec4(0.0), split.z == 0u);
    for (var i = 0u; i < HEADS; i += 1u) {
        let first = y_at(wg.z, wg.y, head + i);
        if i <= last {
            if split.z > 0u || !has_records() {
                store_quad(first, lid, total_0[i] * factor[i]);
                if QUADS > 8u { store_quad(first, lid + 8u, total_1[i] * factor[i]); }
                if QUADS > 16u { store_quad(first, lid + 16u, total_2[i] * factor[i]); }
                if QUADS > 24u { store_quad(first, lid + 24u, total_3[i] * factor[i]); }
            }
            if has_records() && lid == 0u {
                y[first + QUADS] = state(most[i], sums[i], split.z);
            }
        }
    }
}

// Eight quads of the queries, scaled; of quads that a head does not have zeros. Each invocation
// reads one of them and shares it.
fn share_queries(lid: u32, q_first: u32, quad: u32, last: u32) -> array<mat4x4<f32>, 8> {
    let at = q_first + min(quad + lid, QUADS - 1u);
    let scale = select(0.0, params.scale, quad + lid < QUADS);
    let a = share(lid, q[at] * scale);
    var b: array<vec4<f32>, 8>;
    var c: array<vec4<f32>, 8>;
    var d: array<vec4<f32>, 8>;
    if HEADS > 1u { b = share(lid, q[at + min(last, 1u) * QUADS] * scale); }
    if HEADS > 2u { c = share(lid, q[at + min(last, 2u) * QUADS] * scale); }
    if HEADS > 3u { d = share(lid, q[at + min(last, 3u) * QUADS] * scale); }
    return array(
        mat4x4(a[0], b[0], c[0], d[0]), mat4x4(a[1], b[1], c[1], d[1]),
        mat4x4(a[2], b[2], c[2], d[2]), mat4x4(a[3], b[3], c[3], d[3]),
        mat4x4(a[4], b[4], c[4], d[4]), mat4x4(a[5], b[5], c[5], d[5]),
        mat4x4(a[6], b[6], c[6], d[6]), mat4x4(a[7], b[7], c[7], d[7]),
    );
}

// What eight quads of the key at quad `at` add to its scores.
fn block_scores(at: u32, quad: u32, queries: array<mat4x4<f32>, 8>) -> vec4<f32> {
    if quad + 8u <= QUADS {
        let k = key_block(at + quad);
        return k[0] * queries[0] + k[1] * queries[1] + k[2] * queries[2] + k[3] * queries[3]
            + k[4] * queries[4] + k[5] * queries[5] + k[6] * queries[6] + k[7] * queries[7];
    }
    var scores = vec4(0.0);
    if quad < QUADS { scores += key(at + quad) * queries[0]; }
    if quad + 1u < QUADS { scores += key(at + quad + 1u) * queries[1]; }
    if quad + 2u < QUADS { scores += key(at + quad + 2u) * queries[2]; }
    if quad + 3u < QUADS { scores += key(at + quad + 3u) * queries[3]; }
    if quad + 4u < QUADS { scores += key(at + quad + 4u) * queries[4]; }
    if quad + 5u < QUADS { scores += key(at + quad + 5u) * queries[5]; }
    if quad + 6u < QUADS { scores += key(at + quad + 6u) * queries[6]; }
    return scores;
}

// The invocation's quad of eight values from quad `at` on, the last at `last_at`, weighed and summed.
fn block_values(lid: u32, at: u32, last_at: u32, quad: u32, weights: array<vec4<f32>, 8>) -> mat4x4<f32> {
    let mine = min(quad + lid, QUADS - 1u);
    let stride = params.n_kv_heads * QUADS;
    return weighed(weights[0], value(at + mine))
        + weighed(weights[1], value(min(at + stride, last_at) + mine))
        + weighed(weights[2], value(min(at + 2u * stride, last_at) + mine))
        + weighed(weights[3], value(min(at + 3u * stride, last_at) + mine))
        + weighed(weights[4], value(min(at + 4u * stride, last_at) + mine))
        + weighed(weights[5], value(min(at + 5u * stride, last_at) + mine))
        + weighed(weights[6], value(min(at + 6u * stride, last_at) + mine))
        + weighed(weights[7], value(min(at + 7u * stride, last_at) + mine));
}

fn store_quad(first: u32, quad: u32, result: vec4<f32>) {
    if quad < QUADS {
        y[first + quad] = result;
    }
}

fn greatest(x: array<vec4<f32>, 8>) -> vec4<f32> {
    return max(max(max(x[0], x[1]), max(x[2], x[3])), max(max(x[4], x[5]), max(x[6], x[7])));
}

fn added(x: array<vec4<f32>, 8>) -> vec4<f32> {
    return x[0] + x[1] + x[2] + x[3] + x[4] + x[5] + x[6] + x[7];
}
