// As lib/store_f16.wgsl, for the values of a cache: stores quads in f16. Joins: lib/pack_f16.wgsl.

@group(0) @binding(9) var<storage, read_write> values: array<vec2<u32>>;

fn store_value(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_real {
        values[at] = pack_f16(quad);
    }
}
