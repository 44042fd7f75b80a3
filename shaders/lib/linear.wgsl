// Params and bindings of the products y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n].
// w is a part of a matrix that may be split by its rows: it makes `outs` columns of y.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    outs: u32,
    y_first: u32,
    y_cols: u32,
    has_bias: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2                                               [outs, cols]
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(4) var<storage, read> bias: array<f32>;          // [y_cols], or one zero
@group(0) @binding(5) var<storage, read_write> y: array<f32>;       // [rows, y_cols]
