// Attention of many rows: see lib/attention.wgsl for the formula and the bindings. n_splits is 1.
//
// One workgroup a query head and tile of WG / 4 rows. Rows that follow each other in one sequence
// are a run; the workgroup takes the runs of its tile in turn, each over tiles of 32 keys that begin
// at multiples of 32, so that a row's result does not depend on the others. Queries, keys and
// values pass through workgroup memory; an invocation has 4 rows, of their scores those of 2 keys,
// of their results the quads of one column in sixteen. QUADS is at most 64.
// Dispatch (n_heads, ceil(rows / (WG / 4)), 1).
// Joins: lib/rows.wgsl, lib/attention.wgsl, lib/keys_*.wgsl, lib/cache_*.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/attention.rs. CPU twin: src/reference/attention.rs.

override WG: u32 = 128u;

const KEYS: u32 = 32u;
const LANES: u32 = 16u; // Invocations that share 4 rows.

// Eight quads of the rows at [quad][row] and of the keys behind them at [quad][key], or 16 quads of
// the values at [key][quad].
var<workgroup> stage: array<vec4<f32>, 512>;
var<workgroup> weights: array<vec4<f32>, 256>; // [key][WG / 16], each those of 4 rows.

@compute @workgroup_size(WG)
fn attention_tile(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let tile_first = wg.y * (WG / 4u);
    let tile_end = min(tile_first + WG / 4u, params.rows);
    let kv_head = wg.x / (params.n_heads / params.n_kv_heads);
    let column = lid % LANES;
    let mine = tile_first + lid / LANES * 4u;
    var most = vec4(LEAST);
    var sum = vec4(0.0);
    var total_0: mat4x4<f32>;
    var total_1: mat4x4<f32>;
    var total_2: mat4x4<f32>;
    var total_3: mat4x4<f32>;
    var run = tile_first;
    while run < tile_end {
        let run_end = end_of_run(run, tile_end);
        let keys = vec2(keys_of(rows[run]).x, keys_of(rows[run_end - 1u]).y);
        let kv_first = cached_at(rows[run], kv_head);
        // What each of the invocation's rows sees: nothing where it is not of this run.
        let a = keys_in_run(mine, run, run_end);
        let b = keys_in_run(mine + 1u, run, run_end);
        let c = keys_in_run(mine + 2u, run, run_end);
        let d = keys_in_run(mine + 3u, run, run_end);
        let starts = vec4(a.x, b.x, c.x, d.x);
        let ends = vec4(a.y, b.y, c.y, d.y);
        // A run without keys may stand anywhere in an arena.
        let end = select(keys.y, 0u, keys.x == keys.y);
        for (var tile = keys.x / KEYS * KEYS; tile < end; tile += KEYS) {
            var scores = array(vec4(0.0), vec4(0.0));
            for (var quad = 0u; quad < QUADS; quad += 8u) {
                stage_rows(lid, wg.x, tile_first, quad);
                stage_keys(lid, kv_first, tile, keys, quad);
                workgroupBarrier();
                for (var i = 0u; i < 8u; i += 1u) {
                    let at = i * (WG / 4u) + lid / LANES * 4u;
                    let queries = mat4x4(stage[at], stage[at + 1u], stage[at + 2u], stage[at + 3u]);
                    let k = 256u + i * KEYS + column;
                    scores[0] += stage[k] * queries;
                    scores[1] += stage[k + LANES] * queries;
                }
                workgroupBarrier();
            }
            let sees_0 = sees(tile + column, starts, ends);
            let sees_1 = sees(tile + column + LANES, starts, ends);
            let score_0 = select(vec4(LEAST), capped(scores[0]), sees_0);
            let score_1 = select(vec4(LEAST), capped(scores[1]), sees_1);
            let new_most = max(most, lanes_max(lid, LANES, max(score_0, score_1)));
            let shrink = exp(most - new_most);
            let weight_0 = select(vec4(0.0), exp(score_0 - new_most), sees_0);
            let weight_1 = select(vec4(0.0), exp(score_1 - new_most), sees_1);
            most = new_most;
            sum = sum * shrink + weight_0 + weight_1;
            weights[column * (WG / LANES) + lid / LANES] = weight_0;
            weights[(column + LANES) * (WG / LANES) + lid / LANES] = weight_1;
            let first = kv_first + tile * QUADS;
            total_0 = shrunk(total_0, shrink) + tile_values(lid, first, tile, keys, 0u);
            if QUADS > 16u { total_1 = shrunk(total_1, shrink) + tile_values(lid, first, tile, keys, 16u); }
            if QUADS > 32u { total_2 = shrunk(total_2, shrink) + tile_values(lid, first, tile, keys, 32u); }
            if QUADS > 48u { total_3 = shrunk(total_3, shrink) + tile_values(lid, first, tile, keys, 48u); }
        }
        run = run_end;
    }
    sum = lanes_sum(lid, LANES, sum);
    // A row may have no keys: its result is zero.
    let factor = select(1.0 / sum, vec4(0.0), sum == vec4(0.0));
    // Negated, so that a row whose sum is NaN has keys.
    let has_keys = !(sum == vec4(0.0));
    let is_written = vec4(!has_records()) | has_keys;
    store(wg.x, mine, column, is_written, shrunk(total_0, factor));
    if QUADS > 16u { store(wg.x, mine, column + 16u, is_written, shrunk(total_1, factor)); }
    if QUADS > 32u { store(wg.x, mine, column + 32u, is_written, shrunk(total_2, factor)); }
    if QUADS > 48u { store(wg.x, mine, column + 48u, is_written, shrunk(total_3, factor)); }
    if column < 4u && mine + column < params.rows && has_records() {
        let n_live = select(0u, 1u, has_keys[column]);
        y[y_at(mine + column, 0u, wg.x) + QUADS] = state(most[column], sum[column], n_live);
    }
}

// Where the rows end that follow `run` in its sequence. Padding is a run of its own, without keys.
fn end_of_run(run: u32, tile_end: u32) -> u32 {
    var end = run + 1u;
    while end < tile_end {
        let follows = rows[end].sequence == rows[run].sequence
            && rows[end].position == rows[end - 1u].position + 1u
            && rows[end].position != PADDING;
        if !follows {
            break;
        }
        end += 1u;
    }
    return end;
}

fn keys_in_run(row: u32, run: u32, run_end: u32) -> vec2<u32> {
    if row < run || row >= run_end {
        return vec2(0u);
    }
    return keys_of(rows[row]);
}

fn sees(position: u32, starts: vec4<u32>, ends: vec4<u32>) -> vec4<bool> {
    return (vec4(position) >= starts) & (vec4(position) < ends);
}

// Eight quads of the tile's queries, scaled; zeros beyond the head.
fn stage_rows(lid: u32, head: u32, tile_first: u32, quad: u32) {
    for (var i = lid; i < 2u * WG; i += WG) {
        let row = min(tile_first + i / 8u, params.rows - 1u);
        let at = quad + i % 8u;
        let query = q[(row * params.n_heads + head) * QUADS + min(at, QUADS - 1u)];
        stage[i % 8u * (WG / 4u) + i / 8u] = select(vec4(0.0), query * params.scale, at < QUADS);
    }
}

// Eight quads of 32 keys. For keys that no row of the run sees others stand in: their weights will be
// zero, but what lies there may be no number. So for quads beyond the head, where the queries are zero.
fn stage_keys(lid: u32, kv_first: u32, tile: u32, keys: vec2<u32>, quad: u32) {
    for (var i = lid; i < 8u * KEYS; i += WG) {
        let t = clamp(tile + i / 8u, keys.x, keys.y - 1u);
        let at = quad + i % 8u;
        stage[256u + i % 8u * KEYS + i / 8u] = key(kv_first + t * QUADS + min(at, QUADS - 1u));
    }
}

// What 32 values add to the invocation's rows, in its column of the 16 quads from `quad` on.
fn tile_values(lid: u32, first: u32, tile: u32, keys: vec2<u32>, quad: u32) -> mat4x4<f32> {
    for (var i = lid; i < LANES * KEYS; i += WG) {
        let t = clamp(tile + i / LANES, keys.x, keys.y - 1u);
        let at = quad + i % LANES;
        stage[i] = value(first + (t - tile) * QUADS + min(at, QUADS - 1u));
    }
    workgroupBarrier();
    var total: mat4x4<f32>;
    for (var i = 0u; i < KEYS; i += 1u) {
        let weight = weights[i * (WG / LANES) + lid / LANES];
        total += weighed(weight, stage[i * LANES + lid % LANES]);
    }
    workgroupBarrier();
    return total;
}

// One quad of the results of four rows.
fn store(head: u32, row: u32, quad: u32, is_written: vec4<bool>, results: mat4x4<f32>) {
    if quad >= QUADS {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if row + i < params.rows && is_written[i] {
            y[y_at(row + i, 0u, head) + quad] = results[i];
        }
    }
}
