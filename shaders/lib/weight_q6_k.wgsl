// A weight matrix in super-blocks of 256 six-bit values: sixteen sub-blocks of 16,
// each with a signed 8-bit scale. value = d * scale * (q - 32). Joins: lib/nibbles.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks / 8 * (8 low + 4 high)]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, blocks / 8 * (4 scales + 1 d)]

fn super_block(row: u32, block: u32) -> u32 {
    return row * (params.blocks / 8u) + block / 8u;
}

fn octet_scale(row: u32, block: u32, octet: u32) -> f32 {
    let s = super_block(row, block) * 5u;
    let sub_block = (block % 8u) * 2u + octet / 2u;
    let scale = unpack4xI8(w_s[s + sub_block / 4u])[sub_block % 4u];
    return bitcast<f32>(w_s[s + 4u]) * f32(scale);
}

// Quad g of a block has its high bits at bits 2 * (g % 4) of each byte of word g / 4.
fn decode_word(word: u32, high: vec2<u32>, octet: u32, scale: f32) -> array<vec4<f32>, 2> {
    let bits = select(high.x, high.y, octet >= 2u) >> (4u * (octet % 2u));
    let a = low_nibbles(word) + 16.0 * unsigned_bytes(bits & 0x03030303u);
    let b = high_nibbles(word) + 16.0 * unsigned_bytes((bits >> 2u) & 0x03030303u);
    return array((a - 32.0) * scale, (b - 32.0) * scale);
}

fn high_bits(row: u32, block: u32) -> vec2<u32> {
    let j = block % 8u;
    let words = w_q[super_block(row, block) * 12u + 8u + j / 2u];
    return select(words.xy, words.zw, j % 2u == 1u);
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let word = w_q[super_block(row, block) * 12u + block % 8u][octet];
    return decode_word(word, high_bits(row, block), octet, octet_scale(row, block, octet));
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let words = w_q[super_block(row, block) * 12u + block % 8u];
    let pair = select(words.xy, words.zw, half == 1u);
    let high = high_bits(row, block);
    let scale = octet_scale(row, block, half * 2u);
    let a = decode_word(pair.x, high, half * 2u, scale);
    let b = decode_word(pair.y, high, half * 2u + 1u, scale);
    return array(a[0], a[1], b[0], b[1]);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let words = w_q[super_block(row, block) * 12u + block % 8u];
    let high = high_bits(row, block);
    let first = octet_scale(row, block, 0u);
    let second = octet_scale(row, block, 2u);
    let a = decode_word(words.x, high, 0u, first);
    let b = decode_word(words.y, high, 1u, first);
    let c = decode_word(words.z, high, 2u, second);
    let d = decode_word(words.w, high, 3u, second);
    return array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]);
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    return dot_32(decode_block(row, block), x);
}

// Elements of w_q and w_s that a row takes.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks / 8u * 12u, params.blocks / 8u * 5u);
}

fn scale_word(at: u32) -> u32 {
    return w_s[at];
}
