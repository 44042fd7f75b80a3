// The root-mean-square norm of a product's input: x / sqrt(mean(x^2) + eps) * gains. The quotient is
// the same for the whole row, so the products are multiplied with it; the squares are summed up while
// x is read. Every quad is read once by the invocations that `readers_sum` sums over.
// Joins: lib/linear.wgsl, a kernel or part with `readers_sum`.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, cols]
@group(0) @binding(5) var<storage, read> gains: array<vec4<f32>>;   // [cols]

// Inputs that neighbouring outputs read in turn; of pairs the second lies behind the first.
const SIDES: u32 = 1u;

var<private> squares: f32 = 0.0;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    let v = x[row * n_input_quads() + quad];
    squares += dot(v, v);
    return v * gains[quad];
}

fn input_scale(lid: u32) -> f32 {
    return inverseSqrt(readers_sum(lid, squares) / f32(params.cols) + params.eps);
}
