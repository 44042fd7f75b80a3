// Rows on the low-rank branch take up to three matrices that lie one behind the other in one
// pair of arrays, each with columns of x of its own: the second factors of queries, keys and values. The first
// makes first_outs outputs, each further one next_outs. The rows of a step stand once for each of them: row r
// of part p is r + p * rows. Joins: lib/linear.wgsl, lib/output_*.wgsl, lib/routes.wgsl.

@group(0) @binding(7) var<storage, read> routes: array<vec4<u32>>;  // [rows]

fn part_of(row: u32) -> u32 {
    return u32(row >= params.rows) + u32(row >= 2u * params.rows);
}

// The output that a part begins with.
fn first_of(part: u32) -> u32 {
    return select(params.first_outs + (part - 1u) * params.next_outs, 0u, part == 0u);
}

fn arm_of_part(part: u32, n_rows: u32, first: u32, is_listed: bool) -> Arm {
    let outs = select(params.next_outs, params.first_outs, part == 0u);
    return Arm(n_rows, select(0u, outs, n_rows > 0u), params.blocks, false, first, is_listed, part);
}

// A row by itself.
fn arm_of_row(row: u32) -> Arm {
    let part = part_of(row);
    let is_low = ((routes[row - part * params.rows].x >> (2u * params.is_ffn)) & 3u) == LOW;
    return arm_of_part(part, select(0u, row + 1u, is_low), 0u, false);
}

// The arm of a tile of n rows, and which of its tiles that is: each part has as many as all rows would make.
fn arm_of_tile(tile: u32, n: u32) -> Arm {
    let n_tiles = (params.rows + n - 1u) / n;
    let counts = 2u * params.is_ffn;
    let n_rows = min(routes[counts + LOW].w, params.rows);
    return arm_of_part(tile / n_tiles, n_rows, routes[counts + FULL].w, true);
}

fn tile_of_arm(tile: u32, n: u32) -> u32 {
    return tile % ((params.rows + n - 1u) / n);
}

fn row_at(arm: Arm, i: u32) -> u32 {
    if !arm.is_listed {
        return i;
    }
    // Clamped, because the host cannot vouch for what these numbers are.
    let entry = routes[min(arm.first + i, params.rows - 1u)];
    let row = select(entry.y, entry.z, params.is_ffn == 1u);
    return arm.part * params.rows + min(row, params.rows - 1u);
}

fn weight_row(arm: Arm, n: u32) -> u32 {
    return min(first_of(arm.part) + min(n, arm.outs - 1u), params.outs - 1u);
}

fn store(arm: Arm, i: u32, n: u32, products: vec2<f32>) {
    if i >= arm.n_rows || n >= arm.outs {
        return;
    }
    store_product(arm, row_at(arm, i) - arm.part * params.rows, first_of(arm.part) + n, products);
}
