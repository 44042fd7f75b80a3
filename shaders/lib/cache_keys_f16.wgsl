// Reads quads of keys that are kept in f16. Unpacking is core WGSL: no `shader-f16` is
// needed.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(3) var<storage, read> k: array<vec2<u32>>;

fn key(at: u32) -> vec4<f32> {
    return unpack_quad(k[at]);
}

// Eight quads.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    return array(
        key(at), key(at + 1u), key(at + 2u), key(at + 3u),
        key(at + 4u), key(at + 5u), key(at + 6u), key(at + 7u),
    );
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return k[at].x;
}
