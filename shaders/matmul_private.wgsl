// y[r, y_first + n] = dot(x[r, :], w[n, :]) + bias[y_first + n]
//
// As matmul.wgsl, for devices on which workgroup memory is plain memory and a barrier stops a
// whole loop: each invocation makes a tile of ROWS rows by OUTS outputs by itself.
// Dispatch (ceil(outs / (WG * OUTS)), ceil(rows / ROWS), 1).
// Joins: lib/linear.wgsl, lib/dot.wgsl, lib/x_block.wgsl, lib/weight_*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;
override OUTS: u32 = 32u;
override ROWS: u32 = 4u;

const MAX_OUTS: u32 = 32u;
const MAX_ROWS: u32 = 4u;

@compute @workgroup_size(WG)
fn matmul_private(@builtin(global_invocation_id) id: vec3<u32>) {
    let out_first = id.x * OUTS;
    let row_first = id.y * ROWS;
    if out_first >= params.outs {
        return;
    }
    let n_quads = params.cols / 4u;
    var values: array<array<vec4<f32>, 8>, MAX_ROWS>;
    var sums: array<array<f32, MAX_ROWS>, MAX_OUTS>;
    for (var block = 0u; block < params.blocks; block += 1u) {
        for (var r = 0u; r < ROWS; r += 1u) {
            let row = min(row_first + r, params.rows - 1u);
            values[r] = read_x(row * n_quads, block * 8u, n_quads - 1u);
        }
        for (var i = 0u; i < OUTS; i += 1u) {
            let w = decode_block(min(out_first + i, params.outs - 1u), block);
            for (var r = 0u; r < ROWS; r += 1u) {
                sums[i][r] += dot_32(w, values[r]);
            }
        }
    }
    for (var r = 0u; r < ROWS; r += 1u) {
        for (var i = 0u; i < OUTS; i += 1u) {
            let row = row_first + r;
            let n = out_first + i;
            if row < params.rows && n < params.outs {
                let column = params.y_first + n;
                var total = sums[i][r];
                if params.has_bias != 0u {
                    total += bias[column];
                }
                y[row * params.y_cols + column] = total;
            }
        }
    }
}
