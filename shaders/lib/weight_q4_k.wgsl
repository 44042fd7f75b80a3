// A weight matrix in super-blocks of 256 nibbles: eight sub-blocks of 32, each with
// a 6-bit scale and minimum. value = d * scale * q - dmin * minimum.
// Joins: lib/halves.wgsl, lib/nibbles.wgsl, lib/k_scales.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, blocks / 8 * 4]

fn decode_word(word: u32, affine: vec2<f32>) -> array<vec4<f32>, 2> {
    return array(
        low_nibbles(word) * affine.x - affine.y,
        high_nibbles(word) * affine.x - affine.y,
    );
}

fn s_block(row: u32, block: u32) -> u32 {
    return (row * (params.blocks / 8u) + block / 8u) * 4u;
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let affine = sub_block_affine(s_block(row, block), block % 8u);
    return decode_word(w_q[row * params.blocks + block][octet], affine);
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let words = w_q[row * params.blocks + block];
    let pair = select(words.xy, words.zw, half == 1u);
    let affine = sub_block_affine(s_block(row, block), block % 8u);
    let a = decode_word(pair.x, affine);
    let b = decode_word(pair.y, affine);
    return array(a[0], a[1], b[0], b[1]);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let words = w_q[row * params.blocks + block];
    let affine = sub_block_affine(s_block(row, block), block % 8u);
    let a = decode_word(words.x, affine);
    let b = decode_word(words.y, affine);
    let c = decode_word(words.z, affine);
    let d = decode_word(words.w, affine);
    return array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]);
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let affine = sub_block_affine(s_block(row, block), block % 8u);
    return affine.x * nibble_dot(w_q[row * params.blocks + block], x) - affine.y * x_sum;
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks, params.blocks / 8u * 4u);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
