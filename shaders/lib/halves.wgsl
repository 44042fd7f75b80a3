// The two f16 of a word, exactly. Drivers may flush subnormals in unpack2x16float, and the
// scales of small weights are subnormal: those are computed from their integer bits.

fn halves(word: u32) -> vec2<f32> {
    let bits = vec2(word & 0xffffu, word >> 16u);
    let mantissa = vec2<f32>(bits & vec2(0x7fffu)) * 5.9604644775390625e-8; // 2^-24
    let subnormal = select(mantissa, -mantissa, bits >= vec2(0x8000u));
    return select(unpack2x16float(word), subnormal, (bits & vec2(0x7c00u)) == vec2(0u));
}
