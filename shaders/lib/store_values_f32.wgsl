// As lib/store_f32.wgsl, for the values of a cache: stores quads as they are.

@group(0) @binding(9) var<storage, read_write> values: array<vec4<f32>>;

fn store_value(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_real {
        values[at] = quad;
    }
}
