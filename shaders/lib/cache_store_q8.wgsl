// Stores keys and values in blocks of 32: 8 words of four signed bytes, then the scale, an f32. The
// largest magnitude becomes 127.

@group(0) @binding(7) var<storage, read_write> keys: array<u32>;
@group(0) @binding(8) var<storage, read_write> values: array<u32>;

var<workgroup> head: array<vec4<f32>, WG>;

fn cache_store(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    head[lid] = quad;
    workgroupBarrier();
    if is_real {
        let first = lid - lid % 8u;
        var most = vec4(0.0);
        for (var i = first; i < first + 8u; i += 1u) {
            most = max(most, abs(head[i]));
        }
        let largest = max(max(most.x, most.y), max(most.z, most.w));
        let inverse = select(127.0 / largest, 0.0, largest == 0.0);
        let block = at / 8u * 9u;
        store_word(is_key, block + at % 8u, pack4xI8(vec4<i32>(round(quad * inverse))));
        if at % 8u == 0u {
            store_word(is_key, block + 8u, bitcast<u32>(largest / 127.0));
        }
    }
}

fn store_word(is_key: bool, at: u32, word: u32) {
    if is_key {
        keys[at] = word;
    } else {
        values[at] = word;
    }
}
