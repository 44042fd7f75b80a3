// As lib/cache_f16.wgsl, for heads of whole blocks: keys are read two quads at a time.

@group(0) @binding(3) var<storage, read> k: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> v: array<vec2<u32>>;

fn key(at: u32) -> vec4<f32> {
    let octet = k[at / 2u];
    return unpack(select(octet.xy, octet.zw, at % 2u == 1u));
}

// Eight quads, from a whole block on.
fn key_block(at: u32) -> array<vec4<f32>, 8> {
    let first = at / 2u;
    let a = k[first];
    let b = k[first + 1u];
    let c = k[first + 2u];
    let d = k[first + 3u];
    return array(
        unpack(a.xy), unpack(a.zw), unpack(b.xy), unpack(b.zw),
        unpack(c.xy), unpack(c.zw), unpack(d.xy), unpack(d.zw),
    );
}

fn value(at: u32) -> vec4<f32> {
    return unpack(v[at]);
}

fn unpack(quad: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(quad.x), unpack2x16float(quad.y));
}
