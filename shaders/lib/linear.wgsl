// Params and bindings of the products
//     y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
// where lib/input_*.wgsl says what is done to x on its way in, lib/output_*.wgsl what is done to a
// product before it is stored, and lib/arm_*.wgsl which rows take it. w may be a part of a matrix that
// is split by its rows, or some rows of several matrices in one pair of arrays.

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
    x_first: u32,
    x_cols: u32,
    is_ffn: u32,
    branches: u32,
    zeros: u32,
    low_first: u32,
    low_outs: u32,
    low_cols: u32,
    extra_blocks: u32,
    first_outs: u32,
    next_outs: u32,
    zero: u32, // 0, which no compiler can know.
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2                                               [w_rows, cols]
// x at binding 3                                                      [rows, cols]
@group(0) @binding(4) var<storage, read> bias: array<f32>;          // or one zero
// gains, residual, routes at bindings 5, 6 and 7 where they are needed
@group(0) @binding(8) var<storage, read_write> y: array<f32>;       // [rows, y_cols]
// latents at binding 9 where they are made

// The rows of a step that a workgroup may make outputs of, and what they take of w.
struct Arm {
    n_rows: u32,
    outs: u32,
    blocks: u32, // 0 where the product is zero.
    is_low: bool,
    first: u32,  // Where its rows begin in the list of rows.
    is_listed: bool,
    part: u32,   // Which of the weights that stand side by side; 0 where they are one.
}

// Quads of a row of the input, or of one side of it. Some software adapters divide lane by lane, and shift sooner.
fn n_input_quads() -> u32 {
    return params.cols >> 2u;
}

// Stores outputs n and n + 1 of a row, n even, as far as there are so many.
fn store_product(arm: Arm, row: u32, n: u32, products: vec2<f32>) {
    var pair = products;
    // Asked of n, though it is so for each: for what a uniform alone decides, Mesa's lavapipe 22 may compile anew at every
    // dispatch.
    if n < params.has_bias * 0xffffffffu && arm.blocks > 0u {
        pair += vec2(
            bias[params.bias_first + stacked_row(n)],
            bias[params.bias_first + stacked_row(min(n + 1u, params.outs - 1u))],
        );
    }
    output(row, n, pair);
}
