// y[r, y_first + n] = output(dot(input(x[r, :]), w[n, :]) + bias[bias_first + n])
//
// As matmul_lane.wgsl, for CPUs' shader compilers with vectors of four and no unrolling: an array whose index is not
// written down is read lane by lane there, and what a loop or a branch changes goes to memory, so a tile of 8 rows by 4
// outputs has its names, and the one loop that counts goes over blocks. The four invocations of a subgroup share what
// they read of x, since every load becomes a page of code.
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
    let mine = row_first + ((lid >> 1u) & 1u);
    let rows = vec4(
        row_of_tile(arm, mine), row_of_tile(arm, mine + 2u), row_of_tile(arm, mine + 4u), row_of_tile(arm, mine + 6u),
    );
    let weights = vec4(
        weight_row(arm, first), weight_row(arm, first + 1u), weight_row(arm, first + 2u), weight_row(arm, first + 3u),
    );
    // Of a row the four outputs.
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    var s4 = vec4(0.0);
    var s5 = vec4(0.0);
    var s6 = vec4(0.0);
    var s7 = vec4(0.0);
    for (var side = 0u; side < SIDES; side += 1u) {
        // Outputs that read the other side have no weights in this one.
        let is_other = (vec4(0u, 1u, 2u, 3u) & vec4(SIDES - 1u)) != vec4(side);
        let keep = select(vec4(1.0), vec4(0.0), is_other);
        for (var block = 0u; block < arm.blocks; block += 1u) {
            let a = decode_block(weights.x, block);
            let b = decode_block(weights.y, block);
            let c = decode_block(weights.z, block);
            let d = decode_block(weights.w, block);
            let octet = block * 4u;
            let p = octet_dots(lid, rows, side, octet, array(a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]));
            let q = octet_dots(lid, rows, side, octet + 1u, array(a[2], a[3], b[2], b[3], c[2], c[3], d[2], d[3]));
            let r = octet_dots(lid, rows, side, octet + 2u, array(a[4], a[5], b[4], b[5], c[4], c[5], d[4], d[5]));
            let s = octet_dots(lid, rows, side, octet + 3u, array(a[6], a[7], b[6], b[7], c[6], c[7], d[6], d[7]));
            s0 += keep * (p[0] + q[0] + r[0] + s[0]);
            s1 += keep * (p[1] + q[1] + r[1] + s[1]);
            s2 += keep * (p[2] + q[2] + r[2] + s[2]);
            s3 += keep * (p[3] + q[3] + r[3] + s[3]);
            s4 += keep * (p[4] + q[4] + r[4] + s[4]);
            s5 += keep * (p[5] + q[5] + r[5] + s[5]);
            s6 += keep * (p[6] + q[6] + r[6] + s[6]);
            s7 += keep * (p[7] + q[7] + r[7] + s[7]);
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

// What eight columns add to the outputs of each row. w has the columns' weights of the first output, of the second, …
fn octet_dots(lid: u32, rows: vec4<u32>, side: u32, octet: u32, w: array<vec4<f32>, 8>) -> array<vec4<f32>, 8> {
    let x01 = x_octets(lid, rows.x, side, octet);
    let x23 = x_octets(lid, rows.y, side, octet);
    let x45 = x_octets(lid, rows.z, side, octet);
    let x67 = x_octets(lid, rows.w, side, octet);
    return array(
        row_dots(w, x01[0], x01[1]), row_dots(w, x01[2], x01[3]),
        row_dots(w, x23[0], x23[1]), row_dots(w, x23[2], x23[3]),
        row_dots(w, x45[0], x45[1]), row_dots(w, x45[2], x45[3]),
        row_dots(w, x67[0], x67[1]), row_dots(w, x67[2], x67[3]),
    );
}

fn row_dots(w: array<vec4<f32>, 8>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4(
        dot_chain(w[0], w[1], a, b), dot_chain(w[2], w[3], a, b),
        dot_chain(w[4], w[5], a, b), dot_chain(w[6], w[7], a, b),
    );
}

// A product at a time: vectors of products would all be written to memory before the first is added.
fn dot_chain(v: vec4<f32>, w: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> f32 {
    return v.x * a.x + v.y * a.y + v.z * a.z + v.w * a.w + w.x * b.x + w.y * b.y + w.z * b.z + w.w * b.w;
}

fn row_of_tile(arm: Arm, i: u32) -> u32 {
    return row_at(arm, min(i, arm.n_rows - 1u));
}

fn store_quad(arm: Arm, row: u32, first: u32, sums: vec4<f32>) {
    store(arm, row, first, sums.xy);
    store(arm, row, first + 2u, sums.zw);
}
