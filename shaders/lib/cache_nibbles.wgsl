// The integers in the low nibbles of a word's bytes.
fn nibbles(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(word & 0x0f0f0f0fu)) - 8.0;
}
