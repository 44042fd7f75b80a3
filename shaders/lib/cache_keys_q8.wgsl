// Reads quads of keys that are kept in blocks of 32: 8 words of four signed bytes, then
// the scale, an f32.

@group(0) @binding(3) var<storage, read> k: array<u32>;

fn key(at: u32) -> vec4<f32> {
    let block = at / 8u * 9u;
    return bitcast<f32>(k[block + 8u]) * vec4<f32>(unpack4xI8(k[block + at % 8u]));
}

// Eight quads, a block.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    let block = at / 8u * 9u;
    let scale = bitcast<f32>(k[block + 8u]);
    return array(
        scale * vec4<f32>(unpack4xI8(k[block])), scale * vec4<f32>(unpack4xI8(k[block + 1u])),
        scale * vec4<f32>(unpack4xI8(k[block + 2u])), scale * vec4<f32>(unpack4xI8(k[block + 3u])),
        scale * vec4<f32>(unpack4xI8(k[block + 4u])), scale * vec4<f32>(unpack4xI8(k[block + 5u])),
        scale * vec4<f32>(unpack4xI8(k[block + 6u])), scale * vec4<f32>(unpack4xI8(k[block + 7u])),
    );
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return k[at / 8u * 9u + at % 8u];
}
