// Stores quads in blocks of 32 bytes. Joins: lib/pack_q8.wgsl.

@group(0) @binding(8) var<storage, read_write> stored: array<u32>;

fn store(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    let packed = pack_q8(lid, quad);
    if is_real {
        let block = at / 8u * 9u;
        stored[block + at % 8u] = packed.x;
        if at % 8u == 0u {
            stored[block + 8u] = packed.y;
        }
    }
}
