// The splits of an attention merged into a product's input: sum of w_s * y_s / sum of w_s with
// w_s = sum_s * exp(max_s - max), over the splits that hold keys. x is here
// [rows, n_splits + n_apart, n_heads, head_dim / 4 + 1]: the result of a split, then
// (max_s, sum_s, live splits, 0). Of n_splits the first live ones hold keys, as the first one says;
// each of the n_apart says so for itself. By counts, not sums: those of values that are not finite
// must reach the result.
// Joins: lib/linear.wgsl.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;       // [rows, n_splits + n_apart, n_heads, head_dim / 4 + 1]

// Inputs that neighbouring outputs read in turn; of pairs the second lies behind the first.
const SIDES: u32 = 1u;

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    let n_quads = params.head_dim / 4u;
    let record = n_quads + 1u;
    let split_stride = params.cols / params.head_dim * record;
    let first = row * (params.n_splits + params.n_apart) * split_stride + quad / n_quads * record;
    let n_live = min(u32(x[first + n_quads].z), params.n_splits);
    let n_unused = params.n_splits - n_live;
    var most = -3.0e38;
    var only = 0u;
    var n_with_keys = 0u;
    for (var i = 0u; i < n_live + params.n_apart; i += 1u) {
        let split = i + select(0u, n_unused, i >= n_live);
        let state = x[first + split * split_stride + n_quads];
        most = select(most, max(most, state.x), state.z > 0.0);
        only = select(only, split, state.z > 0.0);
        n_with_keys += u32(state.z > 0.0);
    }
    // Of one record there is nothing to round: so it equals an attention that is not split.
    if n_with_keys == 1u {
        return x[first + only * split_stride + quad % n_quads];
    }
    var total = vec4(0.0);
    var sum = 0.0;
    for (var i = 0u; i < n_live + params.n_apart; i += 1u) {
        let at = first + (i + select(0u, n_unused, i >= n_live)) * split_stride;
        let state = x[at + n_quads];
        if state.z > 0.0 {
            let weight = state.y * exp(state.x - most);
            total += weight * x[at + quad % n_quads];
            sum += weight;
        }
    }
    // A padding row has no split: its input is zero.
    return select(total / sum, vec4(0.0), sum == 0.0);
}

fn input_scale(lid: u32) -> f32 {
    return 1.0;
}
