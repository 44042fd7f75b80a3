// Reads quads of values that are kept in f16. Unpacking is core WGSL: no `shader-f16` is
// needed.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(4) var<storage, read> v: array<vec2<u32>>;

fn value(at: u32) -> vec4<f32> {
    return unpack_quad(v[at]);
}
