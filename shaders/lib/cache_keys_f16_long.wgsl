// As lib/cache_keys_f16_blocks.wgsl, in words of 64 bits: keys are read four quads at a time.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(3) var<storage, read> k: array<vec4<u64>>;

fn key(at: u32) -> vec4<f32> {
    return unpack_quad(key_words(k[at / 4u][at % 4u]));
}

// Eight quads, from a whole block on.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    let first = at / 4u;
    let a = k[first];
    let b = k[first + 1u];
    return array(
        unpack_quad(key_words(a.x)), unpack_quad(key_words(a.y)),
        unpack_quad(key_words(a.z)), unpack_quad(key_words(a.w)),
        unpack_quad(key_words(b.x)), unpack_quad(key_words(b.y)),
        unpack_quad(key_words(b.z)), unpack_quad(key_words(b.w)),
    );
}

fn key_words(quad: u64) -> vec2<u32> {
    return vec2(u32(quad), u32(quad >> 32u));
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return u32(k[at / 4u][at % 4u]);
}
