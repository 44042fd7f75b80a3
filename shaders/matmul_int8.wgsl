// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n]), x in blocks of signed bytes
//
// As matmul.wgsl, with integers: 32 columns of a weight's block times 32 of x's are eight products of
// four bytes each, exact in i32, and one multiplication with both scales. A workgroup of WG = 4 * ROWS
// makes a tile of ROWS rows (32 or 64) by 64 outputs, an invocation 4 by 4 of it.
// Dispatch (ceil(outs / 64), ceil(rows / ROWS), 1), where rows are on several branches
// a row of workgroups more for each but one; outs at most 64 * 65535.
// Joins: lib/linear.wgsl, lib/input_int8.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl with `block_bytes`.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 256u;
override ROWS: u32 = 64u;

const OUTS: u32 = 64u;

// Word-major, four neighbouring rows (of x) or outputs (of w) together: [8 words, 16 quads]. One quad
// of padding a word keeps the transposing stores off each other's banks.
const PITCH: u32 = 17u;
var<workgroup> x_tile: array<vec4<u32>, 8 * 17>;
var<workgroup> w_tile: array<vec4<u32>, 8 * 17>;
var<workgroup> x_scales: array<vec4<f32>, 16>;
var<workgroup> w_scales: array<vec4<f32>, 16>;

@compute @workgroup_size(WG)
fn matmul_int8(
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
    var acc: array<vec4<f32>, 4>;
    for (var block = 0u; block < arm.blocks; block += 1u) {
        // Half a block of one row of w or of x at a time.
        for (var unit = lid; unit < 2u * (OUTS + ROWS); unit += WG) {
            let half = unit % 2u;
            if unit < 2u * OUTS {
                let line = unit / 2u;
                let row = weight_row(arm, out_first + line);
                let words = block_bytes(row, block, half);
                for (var i = 0u; i < 4u; i += 1u) {
                    w_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = words[i];
                }
                if half == 0u {
                    w_scales[line / 4u][line % 4u] = block_scale(row, block);
                }
            } else {
                let line = unit / 2u - OUTS;
                let row = row_at(arm, min(row_first + line, arm.n_rows - 1u));
                let first = (row * params.blocks + block) * 9u;
                for (var i = 0u; i < 4u; i += 1u) {
                    x_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = x[first + half * 4u + i];
                }
                if half == 0u {
                    x_scales[line / 4u][line % 4u] = bitcast<f32>(x[first + 8u]);
                }
            }
        }
        workgroupBarrier();
        var sums: array<vec4<i32>, 4>;
        for (var word = 0u; word < 8u; word += 1u) {
            let a = x_tile[word * PITCH + my_rows];
            let b = w_tile[word * PITCH + my_outs];
            sums[0] += dots(a.x, b);
            sums[1] += dots(a.y, b);
            sums[2] += dots(a.z, b);
            sums[3] += dots(a.w, b);
        }
        let x_scale = x_scales[my_rows];
        let w_scale = w_scales[my_outs];
        acc[0] += x_scale.x * w_scale * vec4<f32>(sums[0]);
        acc[1] += x_scale.y * w_scale * vec4<f32>(sums[1]);
        acc[2] += x_scale.z * w_scale * vec4<f32>(sums[2]);
        acc[3] += x_scale.w * w_scale * vec4<f32>(sums[3]);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        store(arm, row, out_first + my_outs * 4u, acc[i].xy);
        store(arm, row, out_first + my_outs * 4u + 2u, acc[i].zw);
    }
}

// One word of x with the words of four outputs.
fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}
