// A weight matrix in blocks of 32 signed bytes with one f16 scale: value = scale * q.
// Joins: lib/halves.wgsl.

@group(0) @binding(1) var<storage, read> w_q: array<vec4<u32>>;     // [w_rows, blocks * 2]
@group(0) @binding(2) var<storage, read> w_s: array<u32>;           // [w_rows, ceil(blocks / 2)] pairs of f16

fn block_scale(row: u32, block: u32) -> f32 {
    return halves(w_s[row * ((params.blocks + 1u) / 2u) + block / 2u])[block % 2u];
}

fn decode_octet(row: u32, block: u32, octet: u32) -> array<vec4<f32>, 2> {
    let words = w_q[(row * params.blocks + block) * 2u + octet / 2u];
    let pair = select(words.xy, words.zw, octet % 2u == 1u);
    let scale = block_scale(row, block);
    return array(vec4<f32>(unpack4xI8(pair.x)) * scale, vec4<f32>(unpack4xI8(pair.y)) * scale);
}

fn decode_block(row: u32, block: u32) -> array<vec4<f32>, 8> {
    let at = (row * params.blocks + block) * 2u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    let scale = block_scale(row, block);
    return array(
        vec4<f32>(unpack4xI8(a.x)) * scale, vec4<f32>(unpack4xI8(a.y)) * scale,
        vec4<f32>(unpack4xI8(a.z)) * scale, vec4<f32>(unpack4xI8(a.w)) * scale,
        vec4<f32>(unpack4xI8(b.x)) * scale, vec4<f32>(unpack4xI8(b.y)) * scale,
        vec4<f32>(unpack4xI8(b.z)) * scale, vec4<f32>(unpack4xI8(b.w)) * scale,
    );
}

fn block_dot(row: u32, block: u32, x: array<vec4<f32>, 8>, x_sum: f32) -> f32 {
    let at = (row * params.blocks + block) * 2u;
    let a = w_q[at];
    let b = w_q[at + 1u];
    let sum = vec4<f32>(unpack4xI8(a.x)) * x[0] + vec4<f32>(unpack4xI8(a.y)) * x[1]
        + vec4<f32>(unpack4xI8(a.z)) * x[2] + vec4<f32>(unpack4xI8(a.w)) * x[3]
        + vec4<f32>(unpack4xI8(b.x)) * x[4] + vec4<f32>(unpack4xI8(b.y)) * x[5]
        + vec4<f32>(unpack4xI8(b.z)) * x[6] + vec4<f32>(unpack4xI8(b.w)) * x[7];
    return block_scale(row, block) * sum_4(sum);
}

// Half a block as signed bytes.
fn block_bytes(row: u32, block: u32, half: u32) -> vec4<u32> {
    return w_q[(row * params.blocks + block) * 2u + half];
}
