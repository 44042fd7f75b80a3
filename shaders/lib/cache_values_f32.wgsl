// Reads quads of values that are kept in f32.

@group(0) @binding(4) var<storage, read> v: array<vec4<f32>>;

fn value(at: u32) -> vec4<f32> {
    return v[at];
}
