// The rows of x in signed bytes with one scale, large columns in several: with v = round(x[r, c] / scale)
// copy k of column c holds clamp(v, +-127 (k + 1)) - clamp(v, +-127 k). The first copies of all columns come
// first, then the further ones in the table's order. Where has_norm, x is normed before:
// x / sqrt(mean(x^2) + eps) * gains. Where scale is 0, each row has its own: the least that holds all its values.
// y is [rows, (blocks + extra_blocks) * 8 + 1]: words of four bytes, then the bits of the scale.
//
// One workgroup a row. Dispatch (min(rows, 65535), ceil(rows / 65535), 1).
// Joins: lib/reduce.wgsl or lib/reduce_subgroup.wgsl.
// Host side: src/kernels/flatten_rows.rs. CPU twin: src/reference/flatten_rows.rs.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    extra_blocks: u32,
    scale: f32,
    inverse: f32,
    has_norm: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(2) var<storage, read> gains: array<vec4<f32>>;   // [cols], or four zeros
// How many copies a column has; of further copies the column, and from bit 24 on which one. In words of four.
@group(0) @binding(3) var<storage, read> table: array<vec4<u32>>;   // [(blocks + extra_blocks) * 8]
@group(0) @binding(4) var<storage, read_write> y: array<u32>;       // [rows, (blocks + extra_blocks) * 8 + 1]

override WG: u32 = 64u;

const MAX: f32 = 127.0;

@compute @workgroup_size(WG)
fn flatten_rows(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = wg.x + wg.y * 65535u;
    if row >= params.rows {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let n_quads = params.cols / 4u;
    let first = row * n_quads;
    var factor = 1.0;
    if params.has_norm != 0u {
        var sum_sq = 0.0;
        for (var quad = lid; quad < n_quads; quad += WG) {
            let v = x[first + quad];
            sum_sq += dot(v, v);
        }
        let mean_sq = lanes_sum(lid, WG, vec4(sum_sq)).x / f32(params.cols);
        factor = inverseSqrt(mean_sq + params.eps);
    }
    var scale = params.scale;
    var inverse = params.inverse;
    if params.scale == 0.0 {
        var most = vec4(0.0);
        for (var quad = lid; quad < n_quads; quad += WG) {
            most = max(most, abs(input(first, quad, factor)) / vec4<f32>(table[quad]));
        }
        let all = lanes_max(lid, WG, most);
        scale = max(max(all.x, all.y), max(all.z, all.w)) / MAX;
        inverse = select(1.0 / scale, 0.0, scale == 0.0);
    }
    let words = (params.blocks + params.extra_blocks) * 8u;
    let y_first = row * (words + 1u);
    for (var word = lid; word < words; word += WG) {
        var bytes = vec4(0i);
        if word < n_quads {
            let v = round(input(first, word, factor) * inverse);
            bytes = vec4<i32>(clamp(v, vec4(-MAX), vec4(MAX)));
        } else if word >= params.blocks * 8u {
            for (var i = 0u; i < 4u; i += 1u) {
                bytes[i] = further_copy(table[word][i], first, factor, inverse);
            }
        }
        y[y_first + word] = pack4xI8(bytes);
    }
    if lid == 0u {
        y[y_first + words] = bitcast<u32>(scale);
    }
}

// Four values of a row, normed.
fn input(first: u32, quad: u32, factor: f32) -> vec4<f32> {
    let v = x[first + quad];
    if params.has_norm == 0u {
        return v;
    }
    return v * factor * gains[quad];
}

fn further_copy(entry: u32, first: u32, factor: f32, inverse: f32) -> i32 {
    // Clamped, because the host cannot vouch for what the table holds.
    let column = min(entry & 0xffffffu, params.cols - 1u);
    let copy = f32(entry >> 24u);
    let least = MAX * copy;
    // What fills up a block is copy 255, of which no value has any.
    let v = clamp(round(input(first, column / 4u, factor)[column % 4u] * inverse), -MAX * 255.0, MAX * 255.0);
    return i32(clamp(v, -least - MAX, least + MAX) - clamp(v, -least, least));
}
