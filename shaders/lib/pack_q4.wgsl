// Quads in blocks of 32: 4 words of eight nibbles, 8 more than their integers, a word's low ones first,
// then the scale, an f32. The largest magnitude becomes -8; of two that are equal the negative one.
// Eight invocations from a multiple of eight on have a block's quads.

var<workgroup> q4_quads: array<vec4<f32>, WG>;

// The word of the invocation's pair, and the scale's bits. To be called from uniform control flow.
fn pack_q4(lid: u32, quad: vec4<f32>) -> vec2<u32> {
    q4_quads[lid] = quad;
    workgroupBarrier();
    let first = lid - lid % 8u;
    var low = vec4(0.0);
    var high = vec4(0.0);
    for (var i = first; i < first + 8u; i += 1u) {
        low = min(low, q4_quads[i]);
        high = max(high, q4_quads[i]);
    }
    let pair = lid - lid % 2u;
    let even = q4_quads[pair];
    let odd = q4_quads[pair + 1u];
    workgroupBarrier(); // The quads may be others at the next call.
    let least = min(min(low.x, low.y), min(low.z, low.w));
    let most = max(max(high.x, high.y), max(high.z, high.w));
    let largest = select(least, most, most > -least);
    let inverse = select(-8.0 / largest, 0.0, largest == 0.0);
    let word = pack_nibbles(even * inverse) | (pack_nibbles(odd * inverse) << 4u);
    return vec2(word, bitcast<u32>(largest / -8.0));
}

fn pack_nibbles(x: vec4<f32>) -> u32 {
    return pack4xU8(vec4<u32>(clamp(round(x) + 8.0, vec4(0.0), vec4(15.0))));
}
