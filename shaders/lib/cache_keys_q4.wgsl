// Reads quads of keys that are kept in blocks of 32: 4 words of eight nibbles, 8 more than
// their integers, a word's low ones first, then the scale, an f32.
// Joins: lib/cache_nibbles.wgsl.

@group(0) @binding(3) var<storage, read> k: array<u32>;

fn key(at: u32) -> vec4<f32> {
    let block = at / 8u * 5u;
    return bitcast<f32>(k[block + 4u]) * nibbles(k[block + at % 8u / 2u] >> (at % 2u * 4u));
}

// Eight quads, a block.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    let block = at / 8u * 5u;
    let words = vec4(k[block], k[block + 1u], k[block + 2u], k[block + 3u]);
    let high = words >> vec4(4u);
    let scale = bitcast<f32>(k[block + 4u]);
    return array(
        scale * nibbles(words.x), scale * nibbles(high.x),
        scale * nibbles(words.y), scale * nibbles(high.y),
        scale * nibbles(words.z), scale * nibbles(high.z),
        scale * nibbles(words.w), scale * nibbles(high.w),
    );
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return k[at / 8u * 5u + at % 8u / 2u];
}
