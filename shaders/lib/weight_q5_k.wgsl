// As lib/weight_q4_k.wgsl with five-bit values: the fifth bits follow the scales.
// Joins: lib/halves.wgsl, lib/nibbles.wgsl, lib/k_scales.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks] low four bits
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, blocks / 8 * 12]

// Octet o holds the quads 2o and 2o + 1; quad g has its fifth bits at bit g of each byte.
fn decode_word(word: u32, fifth: u32, octet: u32, affine: vec2<f32>) -> array<vec4<f32>, 2> {
    let bits = fifth >> (octet * 2u);
    let low = low_nibbles(word) + 16.0 * unsigned_bytes(bits & 0x01010101u);
    let high = high_nibbles(word) + 16.0 * unsigned_bytes((bits >> 1u) & 0x01010101u);
    return array(low * affine.x - affine.y, high * affine.x - affine.y);
}

fn s_block(row: u32, block: u32) -> u32 {
    return (row * (params.blocks / 8u) + block / 8u) * 12u;
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let s = s_block(row, block);
    let affine = sub_block_affine(s, block % 8u);
    let word = w_q[row * params.blocks + block][octet];
    return decode_word(word, w_s[s + 4u + block % 8u], octet, affine);
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let s = s_block(row, block);
    let words = w_q[row * params.blocks + block];
    let pair = select(words.xy, words.zw, half == 1u);
    let affine = sub_block_affine(s, block % 8u);
    let fifth = w_s[s + 4u + block % 8u];
    let a = decode_word(pair.x, fifth, half * 2u, affine);
    let b = decode_word(pair.y, fifth, half * 2u + 1u, affine);
    return array(a[0], a[1], b[0], b[1]);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let s = s_block(row, block);
    let words = w_q[row * params.blocks + block];
    let affine = sub_block_affine(s, block % 8u);
    let fifth = w_s[s + 4u + block % 8u];
    let a = decode_word(words.x, fifth, 0u, affine);
    let b = decode_word(words.y, fifth, 1u, affine);
    let c = decode_word(words.z, fifth, 2u, affine);
    let d = decode_word(words.w, fifth, 3u, affine);
    return array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]);
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    return dot_32(decode_block(row, block), x);
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks, params.blocks / 8u * 12u);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
