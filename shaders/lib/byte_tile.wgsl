// The tiles of the products of bytes: a block of 32 columns of each row and of each output.
// Joins: a kernel with `x_bytes` and `w_bytes`, lib/linear.wgsl, lib/arm_*.wgsl.

const OUTS: u32 = 64u;

// Word-major, four neighbouring rows (of x) or outputs (of w) together: [8 words, 16 quads]. One quad
// of padding a word keeps the transposing stores off each other's banks.
const PITCH: u32 = 17u;
var<workgroup> x_tile: array<vec4<u32>, 8 * 17>;
var<workgroup> w_tile: array<vec4<u32>, 8 * 17>;

// All invocations of a workgroup of `wg`, half a block of one row of w or of x at a time.
fn load_tiles(lid: u32, wg: u32, arm: Arm, row_first: u32, n_rows: u32, out_first: u32, block: u32) {
    for (var unit = lid; unit < 2u * (OUTS + n_rows); unit += wg) {
        let half = unit % 2u;
        if unit < 2u * OUTS {
            let line = unit / 2u;
            let words = w_bytes(weight_row(arm, out_first + line), block, half);
            for (var i = 0u; i < 4u; i += 1u) {
                w_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = words[i];
            }
        } else {
            let line = unit / 2u - OUTS;
            let row = row_at(arm, min(row_first + line, arm.n_rows - 1u));
            let first = x_bytes(row, block) + half * 4u;
            for (var i = 0u; i < 4u; i += 1u) {
                x_tile[(half * 4u + i) * PITCH + line / 4u][line % 4u] = x[first + i];
            }
        }
    }
}

// Adds the products of the tiles to the sums of an invocation, 4 rows by 4 outputs.
fn add_products(my_rows: u32, my_outs: u32, sums: ptr<function, array<vec4<i32>, 4>>) {
    for (var word = 0u; word < 8u; word += 1u) {
        let a = x_tile[word * PITCH + my_rows];
        let b = w_tile[word * PITCH + my_outs];
        (*sums)[0] += dots(a.x, b);
        (*sums)[1] += dots(a.y, b);
        (*sums)[2] += dots(a.z, b);
        (*sums)[3] += dots(a.w, b);
    }
}

// One word of x with the words of four outputs.
fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}
