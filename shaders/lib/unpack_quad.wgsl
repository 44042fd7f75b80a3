// Four elements that are kept in f16. Unpacking is core WGSL: no `shader-f16` is needed.

fn unpack_quad(quad: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(quad.x), unpack2x16float(quad.y));
}
