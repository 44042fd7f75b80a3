// Stores quads of keys and values in f16. Packing is core WGSL: no `shader-f16` is needed.

@group(0) @binding(7) var<storage, read_write> keys: array<vec2<u32>>;
@group(0) @binding(8) var<storage, read_write> values: array<vec2<u32>>;

fn cache_store(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    // Out of f16's range the result of packing is undefined: clamp.
    let x = clamp(quad, vec4(-65504.0), vec4(65504.0));
    let packed = vec2(pack2x16float(x.xy), pack2x16float(x.zw));
    if is_real && is_key {
        keys[at] = packed;
    } else if is_real {
        values[at] = packed;
    }
}
