// The keys of a sequence's latent rows, made anew from their latents:
//     k[s, t, g, :] = rope(norm(B_k[g, :, :] * c_k[s, t, :] + bias[g, :]), position of t)
// for the latent rows t up to the last position that a row of the step has in sequence s; of sequences
// without rows none. The norm and the rotation are those of cache_write.wgsl; a key has a norm or a
// bias, or neither. Where in the sequence a latent row stands is looked up in its paths.
//
// One workgroup a head of 4 * WG / LANES latent rows; LANES invocations share four rows, a quad of their
// heads each. LANES is a power of two, at least 8 and head_dim / 4. Workgroups beyond the last
// row leave at once. Dispatch (n_kv_heads, ceil(n_ctx / (4 * WG / LANES)), n_sequences).
// Joins: lib/rows.wgsl, lib/paths.wgsl, lib/cache_values_*.wgsl, lib/dot.wgsl, lib/weight_*.wgsl, lib/store_*.wgsl,
// lib/reduce*.wgsl.
// Host side: src/kernels/latent_keys.rs. CPU twin: src/reference/latent_keys.rs.

struct Params {
    rows: u32,
    n_sequences: u32,
    n_kv_heads: u32,
    head_dim: u32,
    n_ctx: u32,
    n_positions: u32,
    latent_cols: u32,
    k_cols: u32,
    blocks: u32,
    w_first: u32,
    rotary_dim: u32,
    interleaved: u32,
    has_norm: u32,
    has_bias: u32,
    bias_first: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2: B_k in rows w_first to w_first + n_kv_heads * head_dim     [w_rows, k_cols]
@group(0) @binding(3) var<storage, read> rows: array<Row>;          // [rows]
// c at binding 4, of which the first k_cols columns are read [n_sequences, n_ctx, latent_cols]
@group(0) @binding(5) var<storage, read> table: array<vec2<f32>>;   // [n_positions, rotary_dim / 2] (cos, sin)
// paths at binding 6
@group(0) @binding(7) var<storage, read> vector: array<f32>;        // gains [head_dim], bias [.., n_kv_heads, head_dim] from bias_first on, or unused
// k at binding 8                                                   [n_sequences, n_kv_heads, n_ctx, head_dim]

override WG: u32 = 64u;
override LANES: u32 = 16u;

// The latents of the workgroup's rows, a block at a time, and their heads: [slot of a team][invocation].
var<workgroup> stage: array<vec4<f32>, WG / LANES * 32u>;
var<workgroup> heads: array<vec4<f32>, 4u * WG>;
var<workgroup> positions: array<u32, WG / LANES * 4u>;
var<workgroup> most: atomic<u32>;
var<workgroup> shared_end: u32;

@compute @workgroup_size(WG)
fn latent_keys(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let sequence = wg.z;
    let end = end_of(lid, sequence);
    if end == 0u {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let n = n_latent(sequence, end - 1u);
    let n_slots = WG / LANES * 4u;
    let first = wg.y * n_slots;
    if first >= n {
        return; // Uniform.
    }
    // Past the end the last row is made again, and not stored.
    if lid < n_slots {
        positions[lid] = position_of(sequence, min(first + lid, n - 1u), end);
    }
    let n_quads = params.head_dim / 4u;
    let team = lid / LANES;
    let lane = lid % LANES;
    let mine = min(lane, n_quads - 1u);
    let element = wg.x * params.head_dim + 4u * mine;
    var quads: array<vec4<f32>, 4>;
    for (var block = 0u; block < params.blocks; block += 1u) {
        for (var i = lid; i < n_slots * 8u; i += WG) {
            let row = sequence * params.n_ctx + min(first + i / 8u, n - 1u);
            stage[i] = latent_quad(row, block * 8u + i % 8u);
        }
        workgroupBarrier();
        for (var s = 0u; s < 4u; s += 1u) {
            let at = (team * 4u + s) * 8u;
            let x = array(
                stage[at], stage[at + 1u], stage[at + 2u], stage[at + 3u],
                stage[at + 4u], stage[at + 5u], stage[at + 6u], stage[at + 7u],
            );
            let x_sum = sum_32(x);
            let w_row = params.w_first + element;
            quads[s] += vec4(
                block_dot(w_row, block, x, x_sum), block_dot(w_row + 1u, block, x, x_sum),
                block_dot(w_row + 2u, block, x, x_sum), block_dot(w_row + 3u, block, x, x_sum),
            );
        }
        workgroupBarrier();
    }
    if params.has_bias != 0u {
        for (var s = 0u; s < 4u; s += 1u) {
            quads[s] += vector_quad(params.bias_first + element);
        }
    }
    if params.has_norm != 0u {
        let squares = vec4(
            dot(quads[0], quads[0]), dot(quads[1], quads[1]),
            dot(quads[2], quads[2]), dot(quads[3], quads[3]),
        );
        let sums = lanes_sum(lid, LANES, select(vec4(0.0), squares, lane < n_quads));
        let scales = inverseSqrt(sums / f32(params.head_dim) + params.eps);
        for (var s = 0u; s < 4u; s += 1u) {
            quads[s] *= scales[s] * vector_quad(4u * mine);
        }
    }
    for (var s = 0u; s < 4u; s += 1u) {
        heads[s * WG + lid] = quads[s];
    }
    workgroupBarrier();
    for (var s = 0u; s < 4u; s += 1u) {
        let slot = team * 4u + s;
        let quad = rotated(quads[s], s * WG + team * LANES, mine, positions[slot]);
        let at = (sequence * params.n_kv_heads + wg.x) * params.n_ctx + first + slot;
        let is_real = lane < n_quads && first + slot < n;
        store(lid, at * n_quads + lane, quad, is_real);
    }
}

// One past the last position that a row of the step has in a sequence, the same for the workgroup.
fn end_of(lid: u32, sequence: u32) -> u32 {
    if lid == 0u {
        atomicStore(&most, 0u);
    }
    workgroupBarrier();
    for (var r = lid; r < params.rows; r += WG) {
        let row = rows[r];
        if row.sequence == sequence && row.position != PADDING {
            atomicMax(&most, row.position + 1u);
        }
    }
    workgroupBarrier();
    if lid == 0u {
        shared_end = atomicLoad(&most);
    }
    return workgroupUniformLoad(&shared_end);
}

// The position of a latent row: the first one up to which there are more than `slot` of them.
fn position_of(sequence: u32, slot: u32, end: u32) -> u32 {
    var low = slot;
    var high = end - 1u;
    while low < high {
        let middle = (low + high) / 2u;
        if n_latent(sequence, middle) > slot {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

// The last block may be cut: past it w is zero.
fn latent_quad(row: u32, quad: u32) -> vec4<f32> {
    if quad >= params.k_cols / 4u {
        return vec4(0.0);
    }
    return value(row * (params.latent_cols / 4u) + quad);
}

fn vector_quad(at: u32) -> vec4<f32> {
    return vec4(vector[at], vector[at + 1u], vector[at + 2u], vector[at + 3u]);
}

// Quad `mine`, x, of the head whose first quad is at `first` in `heads`, rotated.
fn rotated(x: vec4<f32>, first: u32, mine: u32, position: u32) -> vec4<f32> {
    let n_pairs = params.rotary_dim / 2u;
    var y = x;
    for (var j = 0u; j < 4u; j += 1u) {
        let i = 4u * mine + j;
        if i < params.rotary_dim {
            var pair = i % n_pairs;
            var is_a = i < n_pairs;
            var other = select(i - n_pairs, i + n_pairs, is_a);
            if params.interleaved != 0u {
                pair = i / 2u;
                is_a = i % 2u == 0u;
                other = select(i - 1u, i + 1u, is_a);
            }
            let angle = table[position * n_pairs + pair];
            let across = heads[first + other / 4u][other % 4u] * angle.y;
            y[j] = x[j] * angle.x + select(across, -across, is_a);
        }
    }
    return y;
}
