// Attention on devices where an invocation is a lane of a vector register, a read is a loop over the
// lanes and a barrier stops a whole loop: see lib/attention.wgsl for the formula, the bindings and the
// splits.
//
// One workgroup of eight invocations a row, split and up to 4 query heads that share a key/value head.
// It takes eight keys at a time, an invocation a key with its value. Each has a softmax and results of its own, over its
// eighth of the keys, so that nothing is shared before the last key. HEADS at most 4, QUADS at most 32.
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
    var most = vec4(LEAST);
    var sum = vec4(0.0);
    var total_0: array<mat4x4<f32>, 8>;
    var total_1: array<mat4x4<f32>, 8>;
    var total_2: array<mat4x4<f32>, 8>;
    var total_3: array<mat4x4<f32>, 8>;
    for (var tile = split.x; tile < split.y; tile += WG) {
        // Past the end the last key is read again, with no weight.
        let t = min(tile + lid, split.y - 1u);
        let at = kv_first + t * QUADS;
        let near = f32(touch(kv_first + (tile + WG) * QUADS, kv_first + split.y * QUADS, lid) & params.zero);
        var score = near + block_scores(at, 0u, queries_0);
        if QUADS > 8u { score += block_scores(at, 8u, queries_1); }
        if QUADS > 16u { score += block_scores(at, 16u, queries_2); }
        if QUADS > 24u { score += block_scores(at, 24u, queries_3); }
        score = capped(score);
        let new_most = max(most, score);
        let shrink = exp(most - new_most);
        let weight = select(vec4(0.0), exp(score - new_most), tile + lid < split.y);
        sum = sum * shrink + weight;
        most = new_most;
        total_0 = block_totals(total_0, shrink, at, 0u, weight);
        if QUADS > 8u { total_1 = block_totals(total_1, shrink, at, 8u, weight); }
        if QUADS > 16u { total_2 = block_totals(total_2, shrink, at, 16u, weight); }
        if QUADS > 24u { total_3 = block_totals(total_3, shrink, at, 24u, weight); }
    }

    // What the eight have, shrunk to the greatest of their maxima.
    let all_most = greatest(share(lid, most));
    let shrink = exp(most - all_most);
    let sums = added(share(lid, sum * shrink));
    // A row may have no keys: its result is zero.
    let factor = shrink * select(1.0 / sums, vec4(0.0), split.z == 0u);
    if has_records() && lid == 0u {
        for (var i = 0u; i < HEADS; i += 1u) {
            if i <= last {
                y[y_at(wg.z, wg.y, head + i) + QUADS] = state(all_most[i], sums[i], split.z);
            }
        }
    }
    // Of a split without keys only its state is read.
    let n_stored = select(0u, min(HEADS, last + 1u), split.z > 0u || !has_records());
    let first = y_at(wg.z, wg.y, head);
    store_block(lid, first, 0u, scaled(total_0, factor), n_stored);
    if QUADS > 8u { store_block(lid, first, 8u, scaled(total_1, factor), n_stored); }
    if QUADS > 16u { store_block(lid, first, 16u, scaled(total_2, factor), n_stored); }
    if QUADS > 24u { store_block(lid, first, 24u, scaled(total_3, factor), n_stored); }
}

// Reads a word of every eight quads of the next eight keys and values, in the order in which they lie: what each lane
// reads later of a key of its own is then at hand. A lane that waits for memory holds up all behind it.
fn touch(first: u32, end: u32, lid: u32) -> u32 {
    var seen = 0u;
    for (var i = 0u; i < QUADS; i += 8u) {
        let at = min(first + (i + lid) * 8u, end - 1u);
        seen |= key_word(at) | value_word(at);
    }
    return seen;
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

// What an invocation has of eight quads of the results, with its key's value from quad `at` on.
fn block_totals(
    totals: array<mat4x4<f32>, 8>,
    shrink: vec4<f32>,
    at: u32,
    quad: u32,
    weight: vec4<f32>,
) -> array<mat4x4<f32>, 8> {
    var quads: array<vec4<f32>, 8>;
    if quad + 8u <= QUADS {
        quads = value_block(at + quad);
    } else {
        if quad < QUADS { quads[0] = value(at + quad); }
        if quad + 1u < QUADS { quads[1] = value(at + quad + 1u); }
        if quad + 2u < QUADS { quads[2] = value(at + quad + 2u); }
        if quad + 3u < QUADS { quads[3] = value(at + quad + 3u); }
        if quad + 4u < QUADS { quads[4] = value(at + quad + 4u); }
        if quad + 5u < QUADS { quads[5] = value(at + quad + 5u); }
        if quad + 6u < QUADS { quads[6] = value(at + quad + 6u); }
    }
    return array(
        shrunk(totals[0], shrink) + weighed(weight, quads[0]), shrunk(totals[1], shrink) + weighed(weight, quads[1]),
        shrunk(totals[2], shrink) + weighed(weight, quads[2]), shrunk(totals[3], shrink) + weighed(weight, quads[3]),
        shrunk(totals[4], shrink) + weighed(weight, quads[4]), shrunk(totals[5], shrink) + weighed(weight, quads[5]),
        shrunk(totals[6], shrink) + weighed(weight, quads[6]), shrunk(totals[7], shrink) + weighed(weight, quads[7]),
    );
}

fn scaled(totals: array<mat4x4<f32>, 8>, by: vec4<f32>) -> array<mat4x4<f32>, 8> {
    return array(
        shrunk(totals[0], by), shrunk(totals[1], by), shrunk(totals[2], by), shrunk(totals[3], by),
        shrunk(totals[4], by), shrunk(totals[5], by), shrunk(totals[6], by), shrunk(totals[7], by),
    );
}

// Adds up what the eight invocations have of eight quads, for `n` heads; each stores a quad of every head. The heads are
// written out, since an array that is indexed by a variable goes to memory.
fn store_block(lid: u32, first: u32, quad: u32, t: array<mat4x4<f32>, 8>, n: u32) {
    let at = first + quad + lid;
    let stride = y_at(0u, 0u, 1u);
    let n_mine = select(0u, n, quad + lid < QUADS);
    let a = own_sum(lid, array(t[0][0], t[1][0], t[2][0], t[3][0], t[4][0], t[5][0], t[6][0], t[7][0]));
    if n_mine > 0u { y[at] = a; }
    if HEADS > 1u {
        let b = own_sum(lid, array(t[0][1], t[1][1], t[2][1], t[3][1], t[4][1], t[5][1], t[6][1], t[7][1]));
        if n_mine > 1u { y[at + stride] = b; }
    }
    if HEADS > 2u {
        let c = own_sum(lid, array(t[0][2], t[1][2], t[2][2], t[3][2], t[4][2], t[5][2], t[6][2], t[7][2]));
        if n_mine > 2u { y[at + 2u * stride] = c; }
    }
    if HEADS > 3u {
        let d = own_sum(lid, array(t[0][3], t[1][3], t[2][3], t[3][3], t[4][3], t[5][3], t[6][3], t[7][3]));
        if n_mine > 3u { y[at + 3u * stride] = d; }
    }
}

fn greatest(x: array<vec4<f32>, 8>) -> vec4<f32> {
    return max(max(max(x[0], x[1]), max(x[2], x[3])), max(max(x[4], x[5]), max(x[6], x[7])));
}

fn added(x: array<vec4<f32>, 8>) -> vec4<f32> {
    return x[0] + x[1] + x[2] + x[3] + x[4] + x[5] + x[6] + x[7];
}
