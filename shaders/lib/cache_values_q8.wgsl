// Reads quads of values that are kept in blocks of 32: 8 words of four signed bytes, then
// the scale, an f32.

@group(0) @binding(4) var<storage, read> v: array<u32>;

fn value(at: u32) -> vec4<f32> {
    let block = at / 8u * 9u;
    return bitcast<f32>(v[block + 8u]) * vec4<f32>(unpack4xI8(v[block + at % 8u]));
}
