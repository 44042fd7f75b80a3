// Four f16, read through unpack2x16float: no `shader-f16` is needed.
// Joins: lib/weight_16_bit.wgsl.

fn decode_quad(words: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}
