// Stores quads in f16. Joins: lib/pack_f16.wgsl.

@group(0) @binding(8) var<storage, read_write> stored: array<vec2<u32>>;

fn store(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_real {
        stored[at] = pack_f16(quad);
    }
}
