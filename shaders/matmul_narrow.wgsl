// y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
//
// As matmul_lane.wgsl, for CPUs' shader compilers with vectors of four and no unrolling: an array whose index is not
// written down is read lane by lane there, so a tile of 8 rows by 4 outputs has its names; and every load becomes a
// page of code, so the loop's body is eight columns long and the four invocations of a subgroup share what they read.
// Dispatch as matmul_lane.wgsl.
// Joins: lib/linear.wgsl, lib/input_*.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl, lib/dot.wgsl, lib/x_octets_subgroup_4.wgsl.
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
    // Of two rows each, the one that this invocation reads.
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
    for (var step = 0u; step < arm.blocks * 4u * SIDES; step += 1u) {
        let octet = step / SIDES;
        let side = step % SIDES;
        let x01 = x_octets(lid, r01, side, octet);
        let x23 = x_octets(lid, r23, side, octet);
        let x45 = x_octets(lid, r45, side, octet);
        let x67 = x_octets(lid, r67, side, octet);
        if 0u == side {
            let w = decode_octet(w0, octet / 4u, octet % 4u);
            s0.x += dot_8(w, x01[0], x01[1]);
            s1.x += dot_8(w, x01[2], x01[3]);
            s2.x += dot_8(w, x23[0], x23[1]);
            s3.x += dot_8(w, x23[2], x23[3]);
            s4.x += dot_8(w, x45[0], x45[1]);
            s5.x += dot_8(w, x45[2], x45[3]);
            s6.x += dot_8(w, x67[0], x67[1]);
            s7.x += dot_8(w, x67[2], x67[3]);
        }
        if 1u % SIDES == side {
            let w = decode_octet(w1, octet / 4u, octet % 4u);
            s0.y += dot_8(w, x01[0], x01[1]);
            s1.y += dot_8(w, x01[2], x01[3]);
            s2.y += dot_8(w, x23[0], x23[1]);
            s3.y += dot_8(w, x23[2], x23[3]);
            s4.y += dot_8(w, x45[0], x45[1]);
            s5.y += dot_8(w, x45[2], x45[3]);
            s6.y += dot_8(w, x67[0], x67[1]);
            s7.y += dot_8(w, x67[2], x67[3]);
        }
        if 0u == side {
            let w = decode_octet(w2, octet / 4u, octet % 4u);
            s0.z += dot_8(w, x01[0], x01[1]);
            s1.z += dot_8(w, x01[2], x01[3]);
            s2.z += dot_8(w, x23[0], x23[1]);
            s3.z += dot_8(w, x23[2], x23[3]);
            s4.z += dot_8(w, x45[0], x45[1]);
            s5.z += dot_8(w, x45[2], x45[3]);
            s6.z += dot_8(w, x67[0], x67[1]);
            s7.z += dot_8(w, x67[2], x67[3]);
        }
        if 1u % SIDES == side {
            let w = decode_octet(w3, octet / 4u, octet % 4u);
            s0.w += dot_8(w, x01[0], x01[1]);
            s1.w += dot_8(w, x01[2], x01[3]);
            s2.w += dot_8(w, x23[0], x23[1]);
            s3.w += dot_8(w, x23[2], x23[3]);
            s4.w += dot_8(w, x45[0], x45[1]);
            s5.w += dot_8(w, x45[2], x45[3]);
            s6.w += dot_8(w, x67[0], x67[1]);
            s7.w += dot_8(w, x67[2], x67[3]);
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

fn dot_8(w: array<vec4<f32>, 2>, a: vec4<f32>, b: vec4<f32>) -> f32 {
    return sum_4(w[0] * a + w[1] * b);
}

fn store_quad(arm: Arm, row: u32, first: u32, sums: vec4<f32>) {
    store(arm, row, first, sums.xy);
    store(arm, row, first + 2u, sums.zw);
}
