// y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
//
// As matmul_lane.wgsl, for CPUs' shader compilers with vectors of four and no unrolling: an array whose index is not
// written down is read lane by lane there, so a tile of 8 rows by 4 outputs has its names; and every load becomes a
// page of code, so the loop's body is eight columns long and the four invocations of a subgroup share what they read.
// Dispatch as matmul_lane.wgsl.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl, lib/dot.wgsl, lib/x_block*.wgsl.
// Host side: src/kernels/linear.rs. CPU twin: src/reference/linear.rs.

override WG: u32 = 16u;

const OUTS: u32 = 4u;
const ROWS: u32 = 8u;

@compute @workgroup_size(WG)
fn matmul_narrow(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let arm = arm_of_tile(wg.y, ROWS);
    let row_first = tile_of_arm(wg.y, ROWS) * ROWS;
    if row_first >= arm.n_rows || wg.x * WG * OUTS >= arm.outs {
        return; // Uniform: every invocation of the workgroup leaves.
    }
    let first = (wg.x * WG + lid) * OUTS;
    // An invocation reads one quad of two for every second row.
    let r01 = row_of_tile(arm, row_first + lid / 2u % 2u);
    let r23 = row_of_tile(arm, row_first + 2u + lid / 2u % 2u);
    let r45 = row_of_tile(arm, row_first + 4u + lid / 2u % 2u);
    let r67 = row_of_tile(arm, row_first + 6u + lid / 2u % 2u);
    let w0 = weight_row(arm, first);
    let w1 = weight_row(arm, first + 1u);
    let w2 = weight_row(arm, first + 2u);
    let w3 = weight_row(arm, first + 3u);
    // Of a row the four outputs.
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    var s4 = vec4(0.0);
    var s5 = vec4(0.0);
    var s6 = vec4(0.0);
    var s7 = vec4(0.0);
    let n_quads = n_input_quads();
    for (var step = 0u; step < arm.blocks * 4u * SIDES; step += 1u) {
        let octet = step / SIDES;
        let side = step % SIDES;
        let quad = octet * 2u + lid % 2u;
        let at = side * n_quads + quad;
        let within = quad < n_quads;
        let x01 = quad_or_zero(within, r01, at);
        let x23 = quad_or_zero(within, r23, at);
        let x45 = quad_or_zero(within, r45, at);
        let x67 = quad_or_zero(within, r67, at);
        let x0 = array(subgroupBroadcast(x01, 0u), subgroupBroadcast(x01, 1u));
        let x1 = array(subgroupBroadcast(x01, 2u), subgroupBroadcast(x01, 3u));
        let x2 = array(subgroupBroadcast(x23, 0u), subgroupBroadcast(x23, 1u));
        let x3 = array(subgroupBroadcast(x23, 2u), subgroupBroadcast(x23, 3u));
        let x4 = array(subgroupBroadcast(x45, 0u), subgroupBroadcast(x45, 1u));
        let x5 = array(subgroupBroadcast(x45, 2u), subgroupBroadcast(x45, 3u));
        let x6 = array(subgroupBroadcast(x67, 0u), subgroupBroadcast(x67, 1u));
        let x7 = array(subgroupBroadcast(x67, 2u), subgroupBroadcast(x67, 3u));
        if 0u == side {
            let w = decode_octet(w0, octet / 4u, octet % 4u);
            s0.x += dot_8(w, x0);
            s1.x += dot_8(w, x1);
            s2.x += dot_8(w, x2);
            s3.x += dot_8(w, x3);
            s4.x += dot_8(w, x4);
            s5.x += dot_8(w, x5);
            s6.x += dot_8(w, x6);
            s7.x += dot_8(w, x7);
        }
        if 1u % SIDES == side {
            let w = decode_octet(w1, octet / 4u, octet % 4u);
            s0.y += dot_8(w, x0);
            s1.y += dot_8(w, x1);
            s2.y += dot_8(w, x2);
            s3.y += dot_8(w, x3);
            s4.y += dot_8(w, x4);
            s5.y += dot_8(w, x5);
            s6.y += dot_8(w, x6);
            s7.y += dot_8(w, x7);
        }
        if 0u == side {
            let w = decode_octet(w2, octet / 4u, octet % 4u);
            s0.z += dot_8(w, x0);
            s1.z += dot_8(w, x1);
            s2.z += dot_8(w, x2);
            s3.z += dot_8(w, x3);
            s4.z += dot_8(w, x4);
            s5.z += dot_8(w, x5);
            s6.z += dot_8(w, x6);
            s7.z += dot_8(w, x7);
        }
        if 1u % SIDES == side {
            let w = decode_octet(w3, octet / 4u, octet % 4u);
            s0.w += dot_8(w, x0);
            s1.w += dot_8(w, x1);
            s2.w += dot_8(w, x2);
            s3.w += dot_8(w, x3);
            s4.w += dot_8(w, x4);
            s5.w += dot_8(w, x5);
            s6.w += dot_8(w, x6);
            s7.w += dot_8(w, x7);
        }
    }
    store_quad(arm, row_first, first, s0);
    store_quad(arm, row_first + 1u, first, s1);
    store_quad(arm, row_first + 2u, first, s2);
    store_quad(arm, row_first + 3u, first, s3);
    store_quad(arm, row_first + 4u, first, s4);
    store_quad(arm, row_first + 5u, first, s5);
    store_quad(arm, row_first + 6u, first, s6);
    store_quad(arm, row_first + 7u, first, s7);
}

fn row_of_tile(arm: Arm, i: u32) -> u32 {
    return row_at(arm, min(i, arm.n_rows - 1u));
}

// The last block may be cut: past it w is zero, and x must not be read.
fn quad_or_zero(within: bool, row: u32, at: u32) -> vec4<f32> {
    if within {
        return input_quad(row, at);
    }
    return vec4(0.0);
}

fn dot_8(w: array<vec4<f32>, 2>, x: array<vec4<f32>, 2>) -> f32 {
    return sum_4(w[0] * x[0] + w[1] * x[1]);
}

fn store_quad(arm: Arm, row: u32, first: u32, sums: vec4<f32>) {
    store(arm, row, first, sums.xy);
    store(arm, row, first + 2u, sums.zw);
}
