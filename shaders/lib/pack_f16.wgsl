// A quad in f16. Packing is core WGSL: no `shader-f16` is needed.

fn pack_f16(quad: vec4<f32>) -> vec2<u32> {
    // Out of f16's range the result of packing is undefined: clamp.
    let x = clamp(quad, vec4(-65504.0), vec4(65504.0));
    return vec2(pack2x16float(x.xy), pack2x16float(x.zw));
}
