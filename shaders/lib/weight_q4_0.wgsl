// A weight matrix in blocks of 32 nibbles with one f16 scale: value = scale * (q - 8).
// Joins: lib/halves.wgsl, lib/nibbles.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, ceil(blocks / 2)] pairs of f16

fn block_scale(row: u32, block: u32) -> f32 {
    let pair = halves(w_s[row * ((params.blocks + 1u) >> 1u) + (block >> 1u)]);
    return select(pair.x, pair.y, (block & 1u) == 1u);
}

fn decode_word(word: u32, scale: f32) -> array<vec4<f32>, 2> {
    return array((low_nibbles(word) - 8.0) * scale, (high_nibbles(word) - 8.0) * scale);
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    return decode_word(w_q[row * params.blocks + block][octet], block_scale(row, block));
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let words = w_q[row * params.blocks + block];
    let pair = select(words.xy, words.zw, half == 1u);
    let scale = block_scale(row, block);
    let a = decode_word(pair.x, scale);
    let b = decode_word(pair.y, scale);
    return array(a[0], a[1], b[0], b[1]);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let words = w_q[row * params.blocks + block];
    let scale = block_scale(row, block);
    let a = decode_word(words.x, scale);
    let b = decode_word(words.y, scale);
    let c = decode_word(words.z, scale);
    let d = decode_word(words.w, scale);
    return array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]);
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let dot = nibble_dot(w_q[row * params.blocks + block], x);
    return block_scale(row, block) * (dot - 8.0 * x_sum);
}

// Half a block as signed bytes: nibbles less 8. A nibble with the top bit set cannot borrow from its
// neighbour; flipping that bit makes the difference a signed byte.
fn block_bytes(row: u32, block: u32, half: u32) -> vec4<u32> {
    let words = w_q[row * params.blocks + block];
    let pair = select(words.xy, words.zw, half == 1u);
    let nibbles = vec4(pair.x, pair.x >> 4u, pair.y, pair.y >> 4u) & vec4(0x0f0f0f0fu);
    return ((nibbles | vec4(0x80808080u)) - vec4(0x08080808u)) ^ vec4(0x80808080u);
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks, (params.blocks + 1u) >> 1u);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
