// Which branches the rows of a step take in a layer:
//     logits[r, j] = dot(act(norm(x[r, :]) * gains), weight[j, :]) + bias[j]
//     attention    = low if logits[1] > logits[0] + attention_offset, else full
//     ffn          = the greatest of logits[2] + ffn_offset, logits[3], logits[4]: full, low, skipped
// where norm is a root-mean-square norm and act is SiLU or nothing; the first dense_tokens positions are
// full. Or, by `settings`, what is listed for the layer, or what a hash of layer and position draws. A
// low-rank branch that the layer has not is full. Of equal logits the fuller branch is taken.
//
// One workgroup decides for all rows and places them, or one for each row, with place_rows.wgsl behind.
// Dispatch (1, 1, 1) or (rows, 1, 1).
// Joins: lib/rows.wgsl, lib/routes.wgsl, lib/route.wgsl, lib/place.wgsl, lib/reduce*.wgsl.
// Host side: src/kernels/route.rs. CPU twin: src/reference/route.rs.

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(3) var<storage, read> gains: array<vec4<f32>>;   // [cols]
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;  // [5, cols filled up to whole blocks of 32]
@group(0) @binding(5) var<storage, read> bias: array<f32>;          // [5]
// Mode, seed, offset of the attention and of the FFN; shares of 2^32: low attention, low FFN, low or
// skipped FFN, 0; then the branches of each layer.
@group(0) @binding(6) var<storage, read> settings: array<u32>;      // [8 + n_layers]

override WG: u32 = 64u;

const BY_LIST: u32 = 1u;
const BY_SHARES: u32 = 2u;

@compute @workgroup_size(WG)
fn route(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    start_placing(lid);
    let n_rows = select(1u, params.rows, params.places == 1u);
    for (var i = 0u; i < n_rows; i += 1u) {
        let r = wg.x + i;
        let row = rows[r];
        var branches = NO_BRANCH | (NO_BRANCH << 2u);
        if row.position != PADDING {
            branches = there_are(wanted(lid, r, row));
        }
        if lid == 0u {
            routes[4u * r] = branches;
            if params.places == 1u {
                remember(r, row, branches);
            }
        }
    }
    if params.places == 1u {
        place(lid);
    }
}

// Without the low-rank branches that the layer has not.
fn there_are(branches: u32) -> u32 {
    let attention = select(FULL, branches & 3u, params.has_low_attention == 1u);
    let is_missing = (branches >> 2u) == LOW && params.has_low_ffn == 0u;
    return attention | (select(branches >> 2u, FULL, is_missing) << 2u);
}

fn wanted(lid: u32, r: u32, row: Row) -> u32 {
    let mode = settings[0];
    if mode == BY_LIST {
        return settings[8u + params.layer];
    }
    if mode == BY_SHARES {
        let bits = pcg4d(vec4(settings[1], params.layer, row.position, 0u));
        let ffn = select(select(FULL, SKIPPED, bits.y < settings[6]), LOW, bits.y < settings[5]);
        return select(FULL, LOW, bits.x < settings[4]) | (ffn << 2u);
    }
    if row.position < params.dense_tokens {
        return FULL | (FULL << 2u);
    }
    let n_quads = params.cols / 4u;
    let stride = (params.cols + 31u) / 32u * 8u;
    var squares = 0.0;
    for (var quad = lid; quad < n_quads; quad += WG) {
        let v = x[r * n_quads + quad];
        squares += dot(v, v);
    }
    let scale = inverseSqrt(lanes_sum(lid, WG, vec4(squares)).x / f32(params.cols) + params.eps);
    var dots = vec4(0.0);
    var skip_dot = 0.0;
    for (var quad = lid; quad < n_quads; quad += WG) {
        var v = x[r * n_quads + quad] * scale * gains[quad];
        if params.silu == 1u {
            v = v / (1.0 + exp(-v));
        }
        dots += vec4(
            dot(v, weight[quad]), dot(v, weight[stride + quad]),
            dot(v, weight[2u * stride + quad]), dot(v, weight[3u * stride + quad]),
        );
        skip_dot += dot(v, weight[4u * stride + quad]);
    }
    let logits = lanes_sum(lid, WG, dots) + vec4(bias[0], bias[1], bias[2], bias[3]);
    let skip = lanes_sum(lid, WG, vec4(skip_dot)).x + bias[4];
    let attention = select(FULL, LOW, logits.y > logits.x + bitcast<f32>(settings[2]));
    var ffn = FULL;
    var best = logits.z + bitcast<f32>(settings[3]);
    if params.has_low_ffn == 1u && logits.w > best {
        ffn = LOW;
        best = logits.w;
    }
    if skip > best {
        ffn = SKIPPED;
    }
    return attention | (ffn << 2u);
}

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
