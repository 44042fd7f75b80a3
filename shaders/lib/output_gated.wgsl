// Stores act(gate) * up. The rows of w are those of the gate and then those of up; taken in turn
// they make pairs, so that neighbouring outputs are a gate and its up.
// Joins: lib/linear.wgsl, lib/activation.wgsl.

// Rows of w that neighbouring outputs take in turn lie in so many stretches: those of the gate and those of up.
const STRETCHES: u32 = 2u;

fn stacked_row(n: u32) -> u32 {
    return n / 2u + n % 2u * params.half;
}

fn output(row: u32, n: u32, pair: vec2<f32>) {
    y[row * params.y_cols + params.y_first + n / 2u] = activation(vec4(pair.x), params.gelu).x * pair.y;
}
