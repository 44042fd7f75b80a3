// Stores quads as they are.

@group(0) @binding(8) var<storage, read_write> stored: array<vec4<f32>>;

fn store(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    if is_real {
        stored[at] = quad;
    }
}
