// Stores quads of keys and values as they are.

@group(0) @binding(7) var<storage, read_write> keys: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> values: array<vec4<f32>>;

fn cache_store(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_real && is_key {
        keys[at] = quad;
    } else if is_real {
        values[at] = quad;
    }
}
