// Reads quads of values that are kept in blocks of 32: 4 words of eight nibbles, 8 more than
// their integers, a word's low ones first, then the scale, an f32.
// Joins: lib/cache_nibbles.wgsl.

@group(0) @binding(4) var<storage, read> v: array<u32>;

fn value(at: u32) -> vec4<f32> {
    let block = at / 8u * 5u;
    return bitcast<f32>(v[block + 4u]) * nibbles(v[block + at % 8u / 2u] >> (at % 2u * 4u));
}

// Eight quads, a block.
fn value_block(at: u32) -> array<vec4<f32>, 8> {
    let block = at / 8u * 5u;
    let words = vec4(v[block], v[block + 1u], v[block + 2u], v[block + 3u]);
    let high = words >> vec4(4u);
    let scale = bitcast<f32>(v[block + 4u]);
    return array(
        scale * nibbles(words.x), scale * nibbles(high.x),
        scale * nibbles(words.y), scale * nibbles(high.y),
        scale * nibbles(words.z), scale * nibbles(high.z),
        scale * nibbles(words.w), scale * nibbles(high.w),
    );
}

// A word of a quad, as it lies there.
fn value_word(at: u32) -> u32 {
    return v[at / 8u * 5u + at % 8u / 2u];
}
