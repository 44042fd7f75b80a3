// Params and bindings of the products
//     y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
// where lib/input_*.wgsl says what is done to x on its way in, and lib/output_*.wgsl what is done to
// a product before it is stored. w may be a part of a matrix that is split by its rows, or some rows
// of several matrices in one pair of arrays.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    outs: u32,
    y_first: u32,
    y_cols: u32,
    has_bias: u32,
    bias_first: u32,
    half: u32,
    gelu: u32,
    eps: f32,
    head_dim: u32,
    n_splits: u32,
    n_apart: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2                                               [w_rows, cols]
// x at binding 3                                                      [rows, cols]
@group(0) @binding(4) var<storage, read> bias: array<f32>;          // or one zero
// gains, residual at bindings 5 and 6 where they are needed
@group(0) @binding(7) var<storage, read_write> y: array<f32>;       // [rows, y_cols]

// The row of w that makes output n; outputs beyond the last repeat it, so that no invocation
// leaves before a barrier.
fn weight_row(n: u32) -> u32 {
    return stacked_row(min(n, params.outs - 1u));
}

// Stores outputs n and n + 1 of a row, n even, as far as there are so many.
fn store(row: u32, n: u32, products: vec2<f32>) {
    if row >= params.rows || n >= params.outs {
        return;
    }
    var pair = products;
    if params.has_bias != 0u {
        pair += vec2(
            bias[params.bias_first + stacked_row(n)],
            bias[params.bias_first + stacked_row(min(n + 1u, params.outs - 1u))],
        );
    }
    output(row, n, pair);
}
