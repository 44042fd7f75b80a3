// Reads quads of values that are kept in blocks of 32: 4 words of eight nibbles, 8 more than
// their integers, a word's low ones first, then the scale, an f32.
// Joins: lib/cache_nibbles.wgsl.

@group(0) @binding(4) var<storage, read> v: array<u32>;

fn value(at: u32) -> vec4<f32> {
    let block = at / 8u * 5u;
    return bitcast<f32>(v[block + 4u]) * nibbles(v[block + at % 8u / 2u] >> (at % 2u * 4u));
}
