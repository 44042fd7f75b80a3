// Rows take w or leave it by their branch: those on a branch of the bits of `branches` take it; where
// also its bit in `zeros` is set their product is zero, and w is not read. is_ffn says whether the
// branches are the FFN's or the attention's. Joins: lib/linear.wgsl, lib/routes.wgsl.

@group(0) @binding(7) var<storage, read> routes: array<vec4<u32>>;  // [rows]

// A row by itself.
fn arm_of_row(row: u32) -> Arm {
    let branch = (routes[row].x >> (2u * params.is_ffn)) & 3u;
    return arm(branch, params.rows, 0u, false);
}

// All rows of a branch.
fn arm_of_list(branch: u32) -> Arm {
    let counts = 2u * params.is_ffn;
    var first = 0u;
    for (var before = 0u; before < branch; before += 1u) {
        first += routes[counts + before].w;
    }
    return arm(branch, routes[counts + branch].w, first, true);
}

fn arm(branch: u32, n_rows: u32, first: u32, is_listed: bool) -> Arm {
    let is_low = branch == LOW && params.low_outs > 0u;
    let takes = (params.branches >> branch) & 1u;
    let is_zero = (params.zeros >> branch) & 1u;
    return Arm(
        select(min(n_rows, params.rows), 0u, takes == 0u),
        select(select(params.outs, params.low_outs, is_low), 0u, takes == 0u),
        select(params.blocks, 0u, is_zero == 1u),
        is_low,
        first,
        is_listed,
    );
}

fn row_at(arm: Arm, i: u32) -> u32 {
    if !arm.is_listed {
        return i;
    }
    // Clamped, because the host cannot vouch for what these numbers are.
    let entry = routes[min(arm.first + i, params.rows - 1u)];
    return min(select(entry.y, entry.z, params.is_ffn == 1u), params.rows - 1u);
}
