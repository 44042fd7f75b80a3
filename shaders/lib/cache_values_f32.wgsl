// Reads quads of values that are kept in f32.

@group(0) @binding(4) var<storage, read> v: array<vec4<f32>>;

fn value(at: u32) -> vec4<f32> {
    return v[at];
}

fn value_block(at: u32) -> array<vec4<f32>, 8> {
    return array(
        v[at], v[at + 1u], v[at + 2u], v[at + 3u], v[at + 4u], v[at + 5u], v[at + 6u], v[at + 7u],
    );
}

// A word of a quad, as it lies there.
fn value_word(at: u32) -> u32 {
    return bitcast<u32>(v[at].x);
}
