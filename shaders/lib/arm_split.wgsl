// Rows of some branches take w; those on the low-rank branch take, in its place, the low_outs rows from
// low_first on in the same arrays, and store what they make as it is: the latents of their factors.
// Joins: lib/linear.wgsl, lib/output_*.wgsl, lib/arms.wgsl.

@group(0) @binding(9) var<storage, read_write> latents: array<f32>; // [rows, low_cols]

fn weight_row(arm: Arm, n: u32) -> u32 {
    if arm.is_low {
        return params.low_first + min(n, params.low_outs - 1u);
    }
    return stacked_row(min(n, params.outs - 1u));
}

fn store(arm: Arm, i: u32, n: u32, products: vec2<f32>) {
    if i >= arm.n_rows || n >= arm.outs {
        return;
    }
    let row = row_at(arm, i);
    if !arm.is_low {
        store_product(arm, row, n, products);
        return;
    }
    let at = row * params.low_cols + n;
    latents[at] = products.x;
    if n + 1u < params.low_outs {
        latents[at + 1u] = products.y;
    }
}
