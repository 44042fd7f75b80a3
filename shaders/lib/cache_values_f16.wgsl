// Reads quads of values that are kept in f16. Unpacking is core WGSL: no `shader-f16` is
// needed.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(4) var<storage, read> v: array<vec2<u32>>;

fn value(at: u32) -> vec4<f32> {
    return unpack_quad(v[at]);
}

// Eight quads.
fn value_block(at: u32) -> array<vec4<f32>, 8> {
    return array(
        value(at), value(at + 1u), value(at + 2u), value(at + 3u),
        value(at + 4u), value(at + 5u), value(at + 6u), value(at + 7u),
    );
}

// A word of a quad, as it lies there.
fn value_word(at: u32) -> u32 {
    return v[at].x;
}
