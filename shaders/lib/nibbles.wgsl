// Eight nibbles of a word, in order: the low ones of its bytes, then the high ones.
// Joins: lib/bytes*.wgsl, lib/dot.wgsl.

fn low_nibbles(word: u32) -> vec4<f32> {
    return unsigned_bytes(word & 0x0f0f0f0fu);
}

fn high_nibbles(word: u32) -> vec4<f32> {
    return unsigned_bytes((word >> 4u) & 0x0f0f0f0fu);
}

// The scalar product of 32 nibbles with 32 values.
fn nibble_dot(words: vec4<u32>, x: array<vec4<f32>, 8>) -> f32 {
    return sum_4(low_nibbles(words.x) * x[0] + high_nibbles(words.x) * x[1]
        + low_nibbles(words.y) * x[2] + high_nibbles(words.y) * x[3]
        + low_nibbles(words.z) * x[4] + high_nibbles(words.z) * x[5]
        + low_nibbles(words.w) * x[6] + high_nibbles(words.w) * x[7]);
}
