// Adds a residual to a product. Joins: lib/linear.wgsl.

@group(0) @binding(6) var<storage, read> residual: array<f32>;      // [rows, y_cols]

// Rows of w that neighbouring outputs take in turn lie in so many stretches.
const STRETCHES: u32 = 1u;

fn stacked_row(n: u32) -> u32 {
    return n;
}

fn output(row: u32, n: u32, pair: vec2<f32>) {
    let at = row * params.y_cols + params.y_first + n;
    y[at] = residual[at] + pair.x;
    if n + 1u < params.outs {
        y[at + 1u] = residual[at + 1u] + pair.y;
    }
}
