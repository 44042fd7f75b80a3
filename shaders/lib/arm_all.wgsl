// Every row takes all of w. Joins: lib/linear.wgsl, lib/output_*.wgsl.

fn arm_of_row(row: u32) -> Arm {
    return Arm(params.rows, params.outs, params.blocks, false, 0u, false, 0u);
}

// The arm of a tile of n rows, and which of its tiles that is.
fn arm_of_tile(tile: u32, n: u32) -> Arm {
    return arm_of_row(0u);
}

fn tile_of_arm(tile: u32, n: u32) -> u32 {
    return tile;
}

fn row_at(arm: Arm, i: u32) -> u32 {
    return i;
}

// The row of w that makes output n; outputs beyond the last repeat it, so that no invocation
// leaves before a barrier.
fn weight_row(arm: Arm, n: u32) -> u32 {
    return stacked_row(min(n, params.outs - 1u));
}

fn store(arm: Arm, i: u32, n: u32, products: vec2<f32>) {
    if i >= params.rows || n >= params.outs {
        return;
    }
    store_product(arm, i, n, products);
}
