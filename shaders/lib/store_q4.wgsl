// Stores quads in blocks of 32 nibbles. Joins: lib/pack_q4.wgsl.

@group(0) @binding(8) var<storage, read_write> stored: array<u32>;

fn store(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    let packed = pack_q4(lid, quad);
    if is_real && at % 2u == 0u {
        let block = at / 8u * 5u;
        stored[block + at % 8u / 2u] = packed.x;
        if at % 8u == 0u {
            stored[block + 4u] = packed.y;
        }
    }
}
