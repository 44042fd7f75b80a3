// Reads quads of keys that are kept in f32.

@group(0) @binding(3) var<storage, read> k: array<vec4<f32>>;

fn key(at: u32) -> vec4<f32> {
    return k[at];
}

fn key_block(at: u32) -> array<vec4<f32>, 8> {
    return array(
        k[at], k[at + 1u], k[at + 2u], k[at + 3u], k[at + 4u], k[at + 5u], k[at + 6u], k[at + 7u],
    );
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return bitcast<u32>(k[at].x);
}
