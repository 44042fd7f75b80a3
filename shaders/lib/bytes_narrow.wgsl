// As lib/bytes.wgsl, for CPUs' shader compilers that shift lane by lane: each byte is masked where it stands, and the power
// of two that this makes it too large by is divided out. Exact, since a byte has eight bits wherever it stands.

const BYTES: vec4<u32> = vec4(0xffu, 0xff00u, 0xff0000u, 0xff000000u);
const PLACES: vec4<f32> = vec4(1.0, 0.00390625, 0.0000152587890625, 5.9604644775390625e-8); // 2^0, 2^-8, 2^-16, 2^-24

// The top byte has its sign where the word has it; the others are first moved up by 128.
fn signed_bytes(word: u32) -> vec4<f32> {
    let bits = vec4(word ^ 0x00808080u) & BYTES;
    return vec4<f32>(bitcast<vec4<i32>>(bits)) * PLACES - vec4(128.0, 128.0, 128.0, 0.0);
}

fn unsigned_bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4(word) & BYTES) * PLACES;
}
