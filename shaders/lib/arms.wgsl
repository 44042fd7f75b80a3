// Rows take w or leave it by their branch: those on a branch of the bits of `branches` take it; where
// also its bit in `zeros` is set their product is zero, and w is not read. is_ffn says whether the
// branches are the FFN's or the attention's. Joins: lib/linear.wgsl, lib/routes.wgsl.

@group(0) @binding(7) var<storage, read> routes: array<vec4<u32>>;  // [rows]

// Whether rows of a branch take w.
fn takes(branch: u32) -> bool {
    return ((params.branches >> branch) & 1u) == 1u;
}

// A row by itself.
fn arm_of_row(row: u32) -> Arm {
    let branch = (routes[row].x >> (2u * params.is_ffn)) & 3u;
    return arm(branch, params.rows, 0u, false);
}

// The rows of a branch make whole tiles of n rows each, one branch's behind another's, so that few of a
// dispatch's tiles are empty.
fn n_tiles(branch: u32, n: u32) -> u32 {
    let counts = 2u * params.is_ffn;
    return select(0u, (routes[counts + branch].w + n - 1u) / n, takes(branch));
}

// The arm of a tile of n rows: all rows of a branch. Behind the last tile none.
fn arm_of_tile(tile: u32, n: u32) -> Arm {
    let counts = 2u * params.is_ffn;
    let a = n_tiles(FULL, n);
    let b = a + n_tiles(LOW, n);
    let branch = select(select(SKIPPED, LOW, tile < b), FULL, tile < a);
    if branch == SKIPPED && (params.is_ffn == 0u || tile >= b + n_tiles(SKIPPED, n)) {
        return Arm(0u, 0u, 0u, false, 0u, true, 0u);
    }
    var first = 0u;
    for (var before = 0u; before < branch; before += 1u) {
        first += routes[counts + before].w;
    }
    return arm(branch, routes[counts + branch].w, first, true);
}

// Which tile of its arm it is.
fn tile_of_arm(tile: u32, n: u32) -> u32 {
    let a = n_tiles(FULL, n);
    let b = a + n_tiles(LOW, n);
    return tile - select(select(b, a, tile < b), 0u, tile < a);
}

fn arm(branch: u32, n_rows: u32, first: u32, is_listed: bool) -> Arm {
    let is_low = branch == LOW && params.low_outs > 0u;
    let is_zero = (params.zeros >> branch) & 1u;
    return Arm(
        select(0u, min(n_rows, params.rows), takes(branch)),
        select(0u, select(params.outs, params.low_outs, is_low), takes(branch)),
        select(params.blocks, 0u, is_zero == 1u),
        is_low,
        first,
        is_listed,
        0u,
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
