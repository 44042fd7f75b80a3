// As lib/cache_keys_f16.wgsl, for heads of whole blocks: keys are read two quads at a time.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(3) var<storage, read> k: array<vec4<u32>>;

fn key(at: u32) -> vec4<f32> {
    let octet = k[at / 2u];
    return unpack_quad(select(octet.xy, octet.zw, at % 2u == 1u));
}

// Eight quads, from a whole block on.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    let first = at / 2u;
    let a = k[first];
    let b = k[first + 1u];
    let c = k[first + 2u];
    let d = k[first + 3u];
    return array(
        unpack_quad(a.xy), unpack_quad(a.zw), unpack_quad(b.xy), unpack_quad(b.zw),
        unpack_quad(c.xy), unpack_quad(c.zw), unpack_quad(d.xy), unpack_quad(d.zw),
    );
}

// A word of a quad, as it lies there.
fn key_word(at: u32) -> u32 {
    return k[at / 2u].x;
}
