// The input of a product in signed bytes with one scale a row, as flatten_rows.wgsl makes them, and the bytes of the
// weight that go with them. Joins: lib/linear.wgsl, lib/weight_*.wgsl with `block_bytes`.

@group(0) @binding(3) var<storage, read> x: array<u32>;             // [rows, (blocks + extra_blocks) * 8 + 1]
@group(0) @binding(5) var<storage, read> table: array<vec4<u32>>;   // [(blocks + extra_blocks) * 8]

// The first word of a row.
fn row_words(row: u32) -> u32 {
    return row * ((params.blocks + params.extra_blocks) * 8u + 1u);
}

const SIDES: u32 = 1u;

fn x_bytes(row: u32, block: u32) -> u32 {
    return row_words(row) + block * 8u;
}

fn input_quad(row: u32, quad: u32) -> vec4<f32> {
    return signed_bytes(x[row_words(row) + quad]);
}

// What an integer of a row stands for.
fn row_scale(row: u32) -> f32 {
    return bitcast<f32>(x[row_words(row + 1u) - 1u]);
}

// Blocks of columns and of further copies; none where the product is zero.
fn flat_blocks(arm: Arm) -> u32 {
    return select(params.blocks + params.extra_blocks, 0u, arm.blocks == 0u);
}

// Further copies; none where the product is zero.
fn n_copies(arm: Arm) -> u32 {
    return select(params.extra_blocks * 32u, 0u, arm.blocks == 0u);
}

// The byte of x that a copy holds, and the column that it is a copy of.
fn copy_of(row: u32, copy: u32) -> u32 {
    return (x[row_words(row) + params.blocks * 8u + copy / 4u] >> (copy % 4u * 8u)) & 0xffu;
}

fn copied_column(copy: u32) -> u32 {
    // Clamped, because the host cannot vouch for what the table holds.
    return min(table[params.blocks * 8u + copy / 4u][copy % 4u] & 0xffffffu, params.cols - 1u);
}

// Half a block of a row of w, its own or the one that further copies take.
fn w_bytes(row: u32, block: u32, half: u32) -> vec4<u32> {
    if block < params.blocks {
        return block_bytes(row, block, half);
    }
    var words = vec4(0u);
    for (var i = 0u; i < 4u; i += 1u) {
        // Clamped, because the host cannot vouch for what the table holds.
        let columns = min(table[block * 8u + half * 4u + i] & vec4(0xffffffu), vec4(params.cols - 1u));
        words[i] = byte_of(row, columns.x) | (byte_of(row, columns.y) << 8u)
            | (byte_of(row, columns.z) << 16u) | (byte_of(row, columns.w) << 24u);
    }
    return words;
}

fn byte_of(row: u32, column: u32) -> u32 {
    let words = block_bytes(row, column / 32u, column % 32u / 16u);
    return (words[column % 16u / 4u] >> (column % 4u * 8u)) & 0xffu;
}
