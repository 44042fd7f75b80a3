// Four neighbouring elements of the key/value cache, kept in f16. The pack
// functions are core WGSL: no `shader-f16` is needed.

alias Cached4 = vec2<u32>;

fn cache_load(cached: Cached4) -> vec4<f32> {
    return vec4(unpack2x16float(cached.x), unpack2x16float(cached.y));
}

fn cache_store(values: vec4<f32>) -> Cached4 {
    // Out of f16's range the result of packing is undefined: clamp.
    let v = clamp(values, vec4(-65504.0), vec4(65504.0));
    return vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}
