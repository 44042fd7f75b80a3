// y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n]
//
// For many rows. A workgroup of 64 makes a tile of 32 rows by 32 outputs, an invocation
// 4 by 4 of it, over steps of one block of 32 columns kept in workgroup memory.
// Dispatch (ceil(outs / 32), ceil(rows / 32), 1); outs at most 32 * 65535.
// Joins: lib/linear.wgsl, lib/weight_*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

const TILE: u32 = 32u;

// Column-major, four neighbouring rows (of x) or outputs (of w) together: [32 columns, 8 quads].
// One quad of padding a column keeps the transposing stores off each other's banks.
const PITCH: u32 = 9u;
var<workgroup> x_tile: array<vec4<f32>, 32 * 9>;
var<workgroup> w_tile: array<vec4<f32>, 32 * 9>;

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn matmul(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row_first = wg.y * TILE;
    let out_first = wg.x * TILE;
    let n_quads = params.cols / 4u;
    let my_rows = lid / 8u;  // Which quad of rows of the tile.
    let my_outs = lid % 8u;  // Which quad of outputs.
    var acc0 = vec4(0.0);
    var acc1 = vec4(0.0);
    var acc2 = vec4(0.0);
    var acc3 = vec4(0.0);
    for (var block = 0u; block < params.blocks; block += 1u) {
        // 32 rows of 4 octets each, both tiles: two octets an invocation.
        for (var unit = lid; unit < TILE * 4u; unit += WG) {
            let line = unit / 4u;
            let octet = unit % 4u;
            let w = decode_octet(min(out_first + line, params.outs - 1u), block, octet);
            let x_row = min(row_first + line, params.rows - 1u) * n_quads;
            let quad = block * 8u + octet * 2u;
            // The last block may be cut: past it w is zero, and x must not be read.
            let a = x[x_row + min(quad, n_quads - 1u)];
            let b = x[x_row + min(quad + 1u, n_quads - 1u)];
            for (var i = 0u; i < 4u; i += 1u) {
                let column = octet * 8u + i;
                x_tile[column * PITCH + line / 4u][line % 4u] = a[i];
                x_tile[(column + 4u) * PITCH + line / 4u][line % 4u] = b[i];
                w_tile[column * PITCH + line / 4u][line % 4u] = w[0][i];
                w_tile[(column + 4u) * PITCH + line / 4u][line % 4u] = w[1][i];
            }
        }
        workgroupBarrier();
        for (var column = 0u; column < 32u; column += 1u) {
            let a = x_tile[column * PITCH + my_rows];
            let b = w_tile[column * PITCH + my_outs];
            acc0 += a.x * b;
            acc1 += a.y * b;
            acc2 += a.z * b;
            acc3 += a.w * b;
        }
        workgroupBarrier();
    }
    let acc = array(acc0, acc1, acc2, acc3);
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row_first + my_rows * 4u + i;
        for (var j = 0u; j < 4u; j += 1u) {
            let n = out_first + my_outs * 4u + j;
            if row < params.rows && n < params.outs {
                let column = params.y_first + n;
                var total = acc[i][j];
                if params.has_bias != 0u {
                    total += bias[column];
                }
                y[row * params.y_cols + column] = total;
            }
        }
    }
}
