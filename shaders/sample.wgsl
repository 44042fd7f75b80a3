// sampled[i] = the token drawn from logits[i, :]; also the next token of its sequence where `write_next`.
//
// The definition, step by step, stands in src/sampler.rs: repetition penalty, temperature, top-k,
// top-p, min-p, then an exponential race whose noise depends on seed, position and token alone.
// Thresholds are found by radix selection over order-preserving keys; masses are summed as
// integers, so the result does not depend on the order of the atomics.
//
// One workgroup an output row. Dispatch (n_out, 1, 1). Joins: lib/rows.wgsl.
// Host side: src/kernels/sample.rs. CPU twin: src/reference/sample.rs.

struct Params {
    n_out: u32,
    vocab_size: u32,
    n_ctx: u32,
    write_next: u32,
}

struct Sampler {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    seed_low: u32,
    seed_high: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Row>;              // [rows]
@group(0) @binding(2) var<storage, read> out_rows: array<u32>;          // [n_out]
@group(0) @binding(3) var<storage, read> samplers: array<Sampler>;      // [n_sequences]
@group(0) @binding(4) var<storage, read> logits: array<f32>;            // [n_out, vocab_size]
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;      // [n_sequences, n_ctx]
@group(0) @binding(6) var<storage, read_write> scores: array<f32>;      // [n_out, vocab_size] penalised, over temperature
@group(0) @binding(7) var<storage, read_write> sampled: array<u32>;     // [n_out]

override WG: u32 = 256u;

const NOT_FINITE: u32 = 0xffffffffu; // In place of a token: the logits held NaN or infinity.
const MASS_ONE: f32 = 2147483648.0;  // Probability 1 as an integer mass; sums cannot overflow.

var<workgroup> best_score: array<f32, WG>;
var<workgroup> best_token: array<u32, WG>;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> n_bad: atomic<u32>;
var<workgroup> chosen: vec2<u32>;

@compute @workgroup_size(WG)
fn sample(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let first = wg.x * params.vocab_size;
    let row = rows[out_rows[wg.x]];
    let sampler = samplers[row.sequence];
    let sequence = row.sequence * params.n_ctx;
    let padding = row.position == PADDING;

    if lid == 0u {
        atomicStore(&n_bad, 0u);
    }
    workgroupBarrier();
    for (var token = lid; token < params.vocab_size; token += WG) {
        let logit = logits[first + token];
        let bits = bitcast<u32>(logit);
        if (bits & 0x7f800000u) == 0x7f800000u && bits != 0xff800000u {
            atomicAdd(&n_bad, 1u); // NaN or +infinity; -infinity only rules a token out.
        }
        scores[first + token] = logit;
    }
    storageBarrier();
    if sampler.repeat_penalty != 1.0 && !padding {
        for (var at = lid; at <= row.position; at += WG) {
            // From the logit, not in place: a token that occurs twice is penalised once.
            let token = min(tokens[sequence + at], params.vocab_size - 1u);
            let logit = logits[first + token];
            scores[first + token] = select(logit / sampler.repeat_penalty, logit * sampler.repeat_penalty, logit < 0.0);
        }
    }
    storageBarrier();

    let greedy = sampler.temperature == 0.0;
    if !greedy {
        for (var token = lid; token < params.vocab_size; token += WG) {
            scores[first + token] /= sampler.temperature;
        }
        storageBarrier();
    }
    var winner = largest(lid, first);
    let most = bitcast<f32>(winner.y);
    if !greedy {
        var threshold = 0u;
        if sampler.top_k > 0u && sampler.top_k < params.vocab_size {
            threshold = select_count(lid, first, sampler.top_k);
        }
        if sampler.top_p < 1.0 {
            threshold = max(threshold, select_mass(lid, first, threshold, most, sampler.top_p));
        }
        var least = -3.4e38;
        if sampler.min_p > 0.0 {
            least = most + log(sampler.min_p);
        }
        winner = race(lid, first, threshold, least, row.position, vec2(sampler.seed_low, sampler.seed_high));
    }
    if lid == 0u && !padding {
        let bad = atomicLoad(&n_bad) > 0u || most < -3.0e38;
        let token = select(winner.x, NOT_FINITE, bad);
        sampled[wg.x] = token;
        if params.write_next != 0u && !bad && row.position + 1u < params.n_ctx {
            tokens[sequence + row.position + 1u] = token;
        }
    }
}

// The smallest token with the largest score, and the bits of that score.
fn largest(lid: u32, first: u32) -> vec2<u32> {
    var score = -3.4e38;
    var token = 0u;
    for (var at = lid; at < params.vocab_size; at += WG) {
        let s = scores[first + at];
        if s > score {
            score = s;
            token = at;
        }
    }
    return best(lid, score, token);
}

// The kept token with the least ln(e) - score, e exponential: a draw from softmax(scores).
fn race(lid: u32, first: u32, threshold: u32, least: f32, position: u32, seed: vec2<u32>) -> vec2<u32> {
    var score = -3.4e38;
    var token = 0u;
    for (var at = lid; at < params.vocab_size; at += WG) {
        let s = scores[first + at];
        if order_key(s) < threshold || s < least {
            continue;
        }
        let noisy = s - log(exponential(vec4(seed, position, at)));
        if noisy > score {
            score = noisy;
            token = at;
        }
    }
    return best(lid, score, token);
}

fn best(lid: u32, score: f32, token: u32) -> vec2<u32> {
    best_score[lid] = score;
    best_token[lid] = token;
    for (var stride = WG / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lid < stride {
            let other = best_score[lid + stride];
            let wins = other > best_score[lid]
                || (other == best_score[lid] && best_token[lid + stride] < best_token[lid]);
            if wins {
                best_score[lid] = other;
                best_token[lid] = best_token[lid + stride];
            }
        }
    }
    workgroupBarrier();
    let result = vec2(best_token[0], bitcast<u32>(best_score[0]));
    workgroupBarrier();
    return result;
}

// The key of the k-th largest score.
fn select_count(lid: u32, first: u32, k: u32) -> u32 {
    var prefix = 0u;
    var wanted = k;
    for (var shift = 24i; shift >= 0; shift -= 8) {
        clear_histogram(lid);
        for (var at = lid; at < params.vocab_size; at += WG) {
            let key = order_key(scores[first + at]);
            if above(key, shift) == above(prefix, shift) {
                atomicAdd(&histogram[(key >> u32(shift)) & 255u], 1u);
            }
        }
        let found = walk_histogram(lid, wanted);
        prefix |= found.x << u32(shift);
        wanted -= found.y;
    }
    return prefix;
}

// The largest key such that the scores at or above it, among those at or above `threshold`,
// hold at least the share `top_p` of their mass.
fn select_mass(lid: u32, first: u32, threshold: u32, most: f32, top_p: f32) -> u32 {
    var sum = 0.0;
    for (var at = lid; at < params.vocab_size; at += WG) {
        let s = scores[first + at];
        sum += select(0.0, exp(s - most), order_key(s) >= threshold);
    }
    let total = sum_all(lid, sum);
    var prefix = 0u;
    // A hair under p, by more than f32 rounds: a set that holds p exactly must be enough.
    var wanted = u32(max(top_p * MASS_ONE - 512.0, 1.0));
    for (var shift = 24i; shift >= 0; shift -= 8) {
        clear_histogram(lid);
        for (var at = lid; at < params.vocab_size; at += WG) {
            let s = scores[first + at];
            let key = order_key(s);
            if key >= threshold && above(key, shift) == above(prefix, shift) {
                let mass = u32(exp(s - most) / total * MASS_ONE);
                atomicAdd(&histogram[(key >> u32(shift)) & 255u], mass);
            }
        }
        let found = walk_histogram(lid, wanted);
        prefix |= found.x << u32(shift);
        wanted -= found.y;
    }
    return prefix;
}

fn clear_histogram(lid: u32) {
    workgroupBarrier();
    for (var bin = lid; bin < 256u; bin += WG) {
        atomicStore(&histogram[bin], 0u);
    }
    workgroupBarrier();
}

// From the top bin down: the bin in which the sum reaches `wanted`, and the sum above that bin.
// Where rounding leaves it unreached, the lowest bin that holds anything.
fn walk_histogram(lid: u32, wanted: u32) -> vec2<u32> {
    workgroupBarrier();
    if lid == 0u {
        var sum = 0u;
        var result = vec2(0u, 0u);
        for (var bin = 255i; bin >= 0; bin -= 1) {
            let here = atomicLoad(&histogram[bin]);
            if here > 0u {
                result = vec2(u32(bin), sum);
            }
            sum += here;
            if sum >= wanted {
                break;
            }
        }
        chosen = result;
    }
    return workgroupUniformLoad(&chosen);
}

fn sum_all(lid: u32, value: f32) -> f32 {
    best_score[lid] = value;
    for (var stride = WG / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lid < stride {
            best_score[lid] += best_score[lid + stride];
        }
    }
    workgroupBarrier();
    let total = best_score[0];
    workgroupBarrier();
    return total;
}

// The bits of a key above the byte at `shift`.
fn above(key: u32, shift: i32) -> u32 {
    return select(key >> u32((shift + 8) & 31), 0u, shift == 24);
}

// An integer that orders as the score does.
fn order_key(score: f32) -> u32 {
    let bits = bitcast<u32>(score);
    let key = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
    return select(key, 0x80000000u, score == 0.0); // -0 is 0.
}

// -ln(1 - v), v = (bits + 0.5) * 2^-32 uniform in (0, 1). Each branch rounds where it is harmless.
fn exponential(counter: vec4<u32>) -> f32 {
    let bits = pcg4d(counter).x;
    let v = (f32(bits) + 0.5) * 2.3283064365386963e-10; // 2^-32
    if v < 0.0009765625 {
        return v * (1.0 + 0.5 * v);
    }
    return -log((f32(~bits) + 0.5) * 2.3283064365386963e-10);
}

// Jarzynski & Olano 2020, "Hash Functions for GPU Rendering", JCGT 9(3).
fn pcg4d(counter: vec4<u32>) -> vec4<u32> {
    var v = counter * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
