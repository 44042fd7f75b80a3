// Stores keys and values in blocks of 32: 4 words of eight nibbles, 8 more than their integers, a word's
// low ones first, then the scale, an f32. The largest magnitude becomes -8; of two that are equal
// the negative one.

@group(0) @binding(7) var<storage, read_write> keys: array<u32>;
@group(0) @binding(8) var<storage, read_write> values: array<u32>;

var<workgroup> head: array<vec4<f32>, WG>;

fn cache_store(lid: u32, is_key: bool, at: u32, quad: vec4<f32>, is_real: bool) {
    head[lid] = quad;
    workgroupBarrier();
    if is_real && at % 2u == 0u {
        let first = lid - lid % 8u;
        var low = vec4(0.0);
        var high = vec4(0.0);
        for (var i = first; i < first + 8u; i += 1u) {
            low = min(low, head[i]);
            high = max(high, head[i]);
        }
        let least = min(min(low.x, low.y), min(low.z, low.w));
        let most = max(max(high.x, high.y), max(high.z, high.w));
        let largest = select(least, most, most > -least);
        let inverse = select(-8.0 / largest, 0.0, largest == 0.0);
        let block = at / 8u * 5u;
        let word = nibbles(quad * inverse) | (nibbles(head[lid + 1u] * inverse) << 4u);
        store_word(is_key, block + at % 8u / 2u, word);
        if at % 8u == 0u {
            store_word(is_key, block + 4u, bitcast<u32>(largest / -8.0));
        }
    }
}

fn nibbles(x: vec4<f32>) -> u32 {
    return pack4xU8(vec4<u32>(clamp(round(x) + 8.0, vec4(0.0), vec4(15.0))));
}

fn store_word(is_key: bool, at: u32, word: u32) {
    if is_key {
        keys[at] = word;
    } else {
        values[at] = word;
    }
}
