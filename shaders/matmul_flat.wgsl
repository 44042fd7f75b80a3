// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n]), x in signed bytes with one scale
//
// As matmul.wgsl, with integers: eight products of four bytes each a block, summed up in i32 over the whole row, and
// one multiplication with the scales of x's row and of w's at the end. w has one scale a row, that of its first block.
// Behind the blocks of w's own columns come those of further copies of x's columns: they take the bytes of w that the
// table names, so w is not stored twice.
// A workgroup of WG = 4 * ROWS makes a tile of ROWS rows (32 or 64) by 64 outputs, an invocation 4 by 4 of it.
// Dispatch (ceil(outs / 64), ceil(rows / ROWS), 1), where rows are on several branches
// a row of workgroups more for each but one; outs at most 64 * 65535.
// Joins: lib/linear.wgsl, lib/input_flat.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl with `block_bytes`.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 256u;
override ROWS: u32 = 64u;

const OUTS: u32 = 64u;

// Word-major, four neighbouring rows (of x) or outputs (of w) together: [8 words, 16 quads]. One quad
// of padding a word keeps the transposing stores off each other's banks.
const PITCH: u32 = 17u;
var<workgroup> x_tile: array<vec4<u32>, 8 * 17>;
var<workgroup> w_tile: array<vec4<u32>, 8 * 17>;

@compute @workgroup_size(WG)
fn matmul_flat(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    let out_first = wg.x * OUTS;
    if row_first >= arm.n_rows || out_first >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let my_rows = lid / 16u; // Which quad of rows of the tile.
    let my_outs = lid % 16u; // Which quad of outputs.
    var sums: array<vec4<i32>, 4>;
    for (var block = 0u; block < flat_blocks(arm); block += 1u) {
        // Half a block of one row of w or of x at a time.
        for (var unit = lid; unit < 2u * (OUTS + ROWS); unit += WG) {
            let half = unit % 2u;
            if unit < 2u * OUTS {
                let line = unit / 2u;
                let words = flat_bytes(weight_row(arm, out_first + line), block, half);
                for (var i = 0u; i < 4u; i += 1u) {
                    w_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = words[i];
                }
            } else {
                let line = unit / 2u - OUTS;
                let row = row_at(arm, min(row_first + line, arm.n_rows - 1u));
                let first = row_words(row) + block * 8u + half * 4u;
                for (var i = 0u; i < 4u; i += 1u) {
                    x_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = x[first + i];
                }
            }
        }
        workgroupBarrier();
        for (var word = 0u; word < 8u; word += 1u) {
            let a = x_tile[word * PITCH + my_rows];
            let b = w_tile[word * PITCH + my_outs];
            sums[0] += dots(a.x, b);
            sums[1] += dots(a.y, b);
            sums[2] += dots(a.z, b);
            sums[3] += dots(a.w, b);
        }
        workgroupBarrier();
    }
    let out = out_first + my_outs * 4u;
    var w_scale: vec4<f32>;
    for (var i = 0u; i < 4u; i += 1u) {
        w_scale[i] = block_scale(weight_row(arm, out + i), 0u);
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        let scale = row_scale(row_at(arm, min(row, arm.n_rows - 1u)));
        let products = scale * w_scale * vec4<f32>(sums[i]);
        store(arm, row, out, products.xy);
        store(arm, row, out + 2u, products.zw);
    }
}

// One word of x with the words of four outputs.
fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}
