// A weight matrix in blocks of 32 nibbles with an f16 scale and an f16 minimum:
// value = scale * q + minimum. Joins: lib/halves.wgsl, lib/nibbles.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, blocks] scale, minimum

fn decode_word(word: u32, affine: vec2<f32>) -> array<vec4<f32>, 2> {
    return array(
        low_nibbles(word) * affine.x + affine.y,
        high_nibbles(word) * affine.x + affine.y,
    );
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let at = row * params.blocks + block;
    return decode_word(w_q[at][octet], halves(w_s[at]));
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let at = row * params.blocks + block;
    let words = w_q[at];
    let pair = select(words.xy, words.zw, half == 1u);
    let affine = halves(w_s[at]);
    let a = decode_word(pair.x, affine);
    let b = decode_word(pair.y, affine);
    return array(a[0], a[1], b[0], b[1]);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let at = row * params.blocks + block;
    let words = w_q[at];
    let affine = halves(w_s[at]);
    let a = decode_word(words.x, affine);
    let b = decode_word(words.y, affine);
    let c = decode_word(words.z, affine);
    let d = decode_word(words.w, affine);
    return array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]);
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let at = row * params.blocks + block;
    let affine = halves(w_s[at]);
    return affine.x * nibble_dot(w_q[at], x) + affine.y * x_sum;
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks, params.blocks);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
