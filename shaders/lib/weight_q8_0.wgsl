// A weight matrix in blocks of 32 signed bytes with one f16 scale: value = scale * q.
// Joins: lib/bytes*.wgsl, lib/dot.wgsl, lib/halves.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks * 2]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, ceil(blocks / 2)] pairs of f16

fn block_scale(row: u32, block: u32) -> f32 {
    let pair = halves(w_s[row * ((params.blocks + 1u) >> 1u) + (block >> 1u)]);
    return select(pair.x, pair.y, (block & 1u) == 1u);
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let words = w_q[(row * params.blocks + block) * 2u + octet / 2u];
    let pair = select(words.xy, words.zw, octet % 2u == 1u);
    let scale = block_scale(row, block);
    return array(signed_bytes(pair.x) * scale, signed_bytes(pair.y) * scale);
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let words = block_bytes(row, block, half);
    let scale = block_scale(row, block);
    return array(
        signed_bytes(words.x) * scale, signed_bytes(words.y) * scale,
        signed_bytes(words.z) * scale, signed_bytes(words.w) * scale,
    );
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let at = (row * params.blocks + block) * 2u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    let scale = block_scale(row, block);
    return array(
        signed_bytes(a.x) * scale, signed_bytes(a.y) * scale,
        signed_bytes(a.z) * scale, signed_bytes(a.w) * scale,
        signed_bytes(b.x) * scale, signed_bytes(b.y) * scale,
        signed_bytes(b.z) * scale, signed_bytes(b.w) * scale,
    );
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let at = (row * params.blocks + block) * 2u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    let sum = signed_bytes(a.x) * x[0] + signed_bytes(a.y) * x[1]
        + signed_bytes(a.z) * x[2] + signed_bytes(a.w) * x[3]
        + signed_bytes(b.x) * x[4] + signed_bytes(b.y) * x[5]
        + signed_bytes(b.z) * x[6] + signed_bytes(b.w) * x[7];
    return block_scale(row, block) * sum_4(sum);
}

// Half a block as signed bytes.
fn block_bytes(row: u32, block: u32, half: u32) -> vec4<u32> {
    return w_q[(row * params.blocks + block) * 2u + half];
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks * 2u, (params.blocks + 1u) >> 1u);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
