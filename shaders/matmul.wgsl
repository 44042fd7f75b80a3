// y[r, y_first + n] = output(dot(x[r, :], w[n, :]) + bias[bias_first + n])
//
// For many rows. A workgroup of WG = 4 * ROWS makes a tile of ROWS rows (32 or 64) by 64 outputs, an
// invocation 4 by 4 of it, over steps of half a block (16 columns) kept in workgroup memory.
// Dispatch (ceil(outs / 64), ceil(rows / ROWS), 1), where rows are on several branches
// a row of workgroups more for each but one; outs at most 64 * 65535.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 256u;
override ROWS: u32 = 64u;

const OUTS: u32 = 64u;

// Column-major, four neighbouring rows (of x) or outputs (of w) together: [16 columns, 16 quads].
// One quad of padding a column keeps the transposing stores off each other's banks.
const PITCH: u32 = 17u;
var<workgroup> x_tile: array<vec4<f32>, SIDES * 16 * 17>;
var<workgroup> w_tile: array<vec4<f32>, 16 * 17>;

@compute @workgroup_size(WG)
fn matmul(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    let out_first = wg.x * OUTS;
    if row_first >= arm.n_rows || out_first >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let n_quads = params.cols / 4u;
    let my_rows = lid / 16u; // Which quad of rows of the tile.
    let my_outs = lid % 16u; // Which quad of outputs.
    var acc0 = vec4(0.0);
    var acc1 = vec4(0.0);
    var acc2 = vec4(0.0);
    var acc3 = vec4(0.0);
    for (var step = 0u; step < 2u * arm.blocks; step += 1u) {
        // Eight columns of one row of w or of x at a time.
        for (var unit = lid; unit < 2u * (OUTS + SIDES * ROWS); unit += WG) {
            let octet = unit % 2u;
            if unit < 2u * OUTS {
                let line = unit / 2u;
                let w = decode_octet(weight_row(arm, out_first + line), step / 2u, step % 2u * 2u + octet);
                for (var i = 0u; i < 4u; i += 1u) {
                    w_tile[(octet * 8u + i) * PITCH + line / 4u][line % 4u] = w[0][i];
                    w_tile[(octet * 8u + i + 4u) * PITCH + line / 4u][line % 4u] = w[1][i];
                }
            } else {
                let side = (unit / 2u - OUTS) / ROWS;
                let line = (unit / 2u - OUTS) % ROWS;
                let row = row_at(arm, min(row_first + line, arm.n_rows - 1u));
                let quad = step * 4u + octet * 2u;
                // The last block may be cut: past it w is zero, and x must not be read.
                let a = input_quad(row, side * n_quads + min(quad, n_quads - 1u));
                let b = input_quad(row, side * n_quads + min(quad + 1u, n_quads - 1u));
                let column = side * 16u + octet * 8u;
                for (var i = 0u; i < 4u; i += 1u) {
                    x_tile[(column + i) * PITCH + line / 4u][line % 4u] = a[i];
                    x_tile[(column + i + 4u) * PITCH + line / 4u][line % 4u] = b[i];
                }
            }
        }
        workgroupBarrier();
        for (var column = 0u; column < 16u; column += 1u) {
            let a = x_tile[column * PITCH + my_rows];
            let b = w_tile[column * PITCH + my_outs];
            if SIDES == 1u {
                acc0 += a.x * b;
                acc1 += a.y * b;
                acc2 += a.z * b;
                acc3 += a.w * b;
            } else {
                let other = x_tile[((SIDES - 1u) * 16u + column) * PITCH + my_rows];
                acc0 += vec4(a.x, other.x, a.x, other.x) * b;
                acc1 += vec4(a.y, other.y, a.y, other.y) * b;
                acc2 += vec4(a.z, other.z, a.z, other.z) * b;
                acc3 += vec4(a.w, other.w, a.w, other.w) * b;
            }
        }
        workgroupBarrier();
    }
    let acc = array(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        store(arm, row, out_first + my_outs * 4u, acc[i].xy);
        store(arm, row, out_first + my_outs * 4u + 2u, acc[i].zw);
    }
}
