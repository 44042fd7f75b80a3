// The rows of x in blocks of 32 signed bytes with one scale: x[r, c] = scale * q, |q| <= 127,
// scale = max |x| / 127 over the block. y is [rows, blocks, 9]: eight words of four bytes, and the
// bits of the scale.
//
// One invocation a block. Dispatch (ceil(blocks / WG), rows, 1).
// Host side: src/kernels/quantize_rows.rs. CPU twin: src/reference/quantize_rows.rs.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;       // [rows, blocks, 9]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn quantize_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.blocks {
        return;
    }
    let n_quads = params.cols / 4u;
    let x_first = id.y * n_quads;
    let quad = id.x * 8u;
    let n = min(8u, n_quads - quad); // The last block may be cut: it is filled up with zeros.
    var most = vec4(0.0);
    for (var i = 0u; i < n; i += 1u) {
        most = max(most, abs(x[x_first + quad + i]));
    }
    let scale = max(max(most.x, most.y), max(most.z, most.w)) / 127.0;
    let inverse = select(1.0 / scale, 0.0, scale == 0.0);
    let y_first = (id.y * params.blocks + id.x) * 9u;
    for (var i = 0u; i < 8u; i += 1u) {
        var word = 0u;
        if i < n {
            word = pack4xI8(vec4<i32>(round(x[x_first + quad + i] * inverse)));
        }
        y[y_first + i] = word;
    }
    y[y_first + 8u] = bitcast<u32>(scale);
}
