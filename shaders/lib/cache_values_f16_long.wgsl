// As lib/cache_values_f16_blocks.wgsl, in words of 64 bits: values are read four quads at a time.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(4) var<storage, read> v: array<vec4<u64>>;

fn value(at: u32) -> vec4<f32> {
    return unpack_quad(value_words(v[at / 4u][at % 4u]));
}

// Eight quads, from a whole block on.
fn value_block(at: u32) -> array<vec4<f32>, 8> {
    let first = at / 4u;
    let a = v[first];
    let b = v[first + 1u];
    return array(
        unpack_quad(value_words(a.x)), unpack_quad(value_words(a.y)),
        unpack_quad(value_words(a.z)), unpack_quad(value_words(a.w)),
        unpack_quad(value_words(b.x)), unpack_quad(value_words(b.y)),
        unpack_quad(value_words(b.z)), unpack_quad(value_words(b.w)),
    );
}

fn value_words(quad: u64) -> vec2<u32> {
    return vec2(u32(quad), u32(quad >> 32u));
}

// A word of a quad, as it lies there.
fn value_word(at: u32) -> u32 {
    return u32(v[at / 4u][at % 4u]);
}
