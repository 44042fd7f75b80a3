// Quads in blocks of 32: 8 words of four signed bytes, then the scale, an f32. The largest magnitude
// becomes 127. Eight invocations from a multiple of eight on have a block's quads.

var<workgroup> q8_quads: array<vec4<f32>, WG>;

// The invocation's word, and the scale's bits. To be called from uniform control flow.
fn pack_q8(lid: u32, quad: vec4<f32>) -> vec2<u32> {
    q8_quads[lid] = quad;
    workgroupBarrier();
    let first = lid - lid % 8u;
    var most = vec4(0.0);
    for (var i = first; i < first + 8u; i += 1u) {
        most = max(most, abs(q8_quads[i]));
    }
    workgroupBarrier(); // The quads may be others at the next call.
    let largest = max(max(most.x, most.y), max(most.z, most.w));
    let inverse = select(127.0 / largest, 0.0, largest == 0.0);
    return vec2(pack4xI8(vec4<i32>(round(quad * inverse))), bitcast<u32>(largest / 127.0));
}
