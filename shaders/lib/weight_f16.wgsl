// A weight matrix in f16, read through unpack2x16float: no `shader-f16` is needed:
// 4 vec4 words a block of 32.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks * 4]

fn decode_quad(words: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let words = w_q[(row * params.blocks + block) * 4u + octet];
    return array(decode_quad(words.xy), decode_quad(words.zw));
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
