// As lib/cache_values_f16.wgsl, for heads of whole blocks: values are read two quads at a time.
// Joins: lib/unpack_quad.wgsl.

@group(0) @binding(4) var<storage, read> v: array<vec4<u32>>;

fn value(at: u32) -> vec4<f32> {
    let octet = v[at / 2u];
    return unpack_quad(select(octet.xy, octet.zw, at % 2u == 1u));
}

// Eight quads, from a whole block on.
fn value_block(at: u32) -> array<vec4<f32>, 8> {
    let first = at / 2u;
    let a = v[first];
    let b = v[first + 1u];
    let c = v[first + 2u];
    let d = v[first + 3u];
    return array(
        unpack_quad(a.xy), unpack_quad(a.zw), unpack_quad(b.xy), unpack_quad(b.zw),
        unpack_quad(c.xy), unpack_quad(c.zw), unpack_quad(d.xy), unpack_quad(d.zw),
    );
}

// A word of a quad, as it lies there.
fn value_word(at: u32) -> u32 {
    return v[at / 2u].x;
}
