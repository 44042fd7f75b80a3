// Rows of some branches take w. Joins: lib/linear.wgsl, lib/output_*.wgsl, lib/arms.wgsl.

fn weight_row(arm: Arm, n: u32) -> u32 {
    return stacked_row(min(n, params.outs - 1u));
}

fn store(arm: Arm, i: u32, n: u32, products: vec2<f32>) {
    if i >= arm.n_rows || n >= arm.outs {
        return;
    }
    store_product(arm, row_at(arm, i), n, products);
}
