// As lib/store_q8.wgsl, for the values of a cache: stores quads in blocks of 32 bytes. Joins: lib/pack_q8.wgsl.

@group(0) @binding(9) var<storage, read_write> values: array<u32>;

fn store_value(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    let packed = pack_q8(lid, quad);
    if is_real {
        let block = at / 8u * 9u;
        values[block + at % 8u] = packed.x;
        if at % 8u == 0u {
            values[block + 8u] = packed.y;
        }
    }
}
