// As lib/store_q4.wgsl, for the values of a cache: stores quads in blocks of 32 nibbles. Joins: lib/pack_q4.wgsl.

@group(0) @binding(9) var<storage, read_write> values: array<u32>;

fn store_value(lid: u32, at: u32, quad: vec4<f32>, is_real: bool) {
    let packed = pack_q4(lid, quad);
    if is_real && at % 2u == 0u {
        let block = at / 8u * 5u;
        values[block + at % 8u / 2u] = packed.x;
        if at % 8u == 0u {
            values[block + 4u] = packed.y;
        }
    }
}
