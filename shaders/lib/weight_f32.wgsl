// A weight matrix in f32: 8 vec4 words a block of 32. The layouts of all
// `lib/weight_*.wgsl` are defined in src/tensor/quant/; each has the same functions:
// `decode_octet`, `decode_half` and `decode_block` give 8, 16 and 32 values, `block_dot` the scalar
// product of a block with values whose sum is known, which lets an offset of all weights out of the loop.
// The kernel's Params has `blocks`: blocks of 32 columns in a row. Joins: lib/dot.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks * 8]

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let at = (row * params.blocks + block) * 8u + octet * 2u;
    return array(bitcast<vec4<f32>>(w_q[at]), bitcast<vec4<f32>>(w_q[at + 1u]));
}

fn decode_half(row: u32, block: u32, half: u32) -> array<vec4<f32>, 4> {
    let at = (row * params.blocks + block) * 8u + half * 4u;
    return array(
        bitcast<vec4<f32>>(w_q[at]), bitcast<vec4<f32>>(w_q[at + 1u]),
        bitcast<vec4<f32>>(w_q[at + 2u]), bitcast<vec4<f32>>(w_q[at + 3u]),
    );
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let at = (row * params.blocks + block) * 8u;
    return array(
        bitcast<vec4<f32>>(w_q[at]), bitcast<vec4<f32>>(w_q[at + 1u]),
        bitcast<vec4<f32>>(w_q[at + 2u]), bitcast<vec4<f32>>(w_q[at + 3u]),
        bitcast<vec4<f32>>(w_q[at + 4u]), bitcast<vec4<f32>>(w_q[at + 5u]),
        bitcast<vec4<f32>>(w_q[at + 6u]), bitcast<vec4<f32>>(w_q[at + 7u]),
    );
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    return dot_32(decode_block(row, block), x);
}

// Elements of w_q that a row takes; there are no scales.
fn row_lengths() -> vec2<u32> {
    return vec2(params.blocks * 8u, 0u);
}

fn scale_word(at: u32) -> u32 {
    return 0u;
}
