// A weight matrix of 16-bit values: 4 vec4 words a block of 32. What four values are stands in
// lib/weight_f16.wgsl and lib/weight_bf16.wgsl. Joins: lib/dot.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks * 4]

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let words = w_q[(row * params.blocks + block) * 4u + octet];
    return array(decode_quad(words.xy), decode_quad(words.zw));
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let at = (row * params.blocks + block) * 4u + half * 2u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    return array(decode_quad(a.xy), decode_quad(a.zw), decode_quad(b.xy), decode_quad(b.zw));
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let at = (row * params.blocks + block) * 4u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    let c = w_q[at + 2u];
    let d = w_q[at + 3u];
    return array(
        decode_quad(a.xy), decode_quad(a.zw), decode_quad(b.xy), decode_quad(b.zw),
        decode_quad(c.xy), decode_quad(c.zw), decode_quad(d.xy), decode_quad(d.zw),
    );
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    return dot_32(decode_block(row, block), x);
}

// Elements of w_q that a row takes; there are no scales.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks * 4u, 0u);
}

fn scale_word(at: u32) -> u32 {
    return 0u;
}
