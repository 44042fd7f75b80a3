// Eight columns of two rows of x, shared by subgroups of four: the first two invocations read a quad each of the one
// row, the others of the other. `row` is the invocation's own.
// Joins: lib/linear.wgsl, lib/input_*.wgsl.

fn x_octets(lid: u32, row: u32, side: u32, octet: u32) -> array<vec4<f32>, 4> {
    let quad = octet * 2u + (lid & 1u);
    let n_quads = n_input_quads();
    // The last block may be cut: past it w is zero, and x must not be read. A branch would cost more than a clamp.
    let read = input_quad(row, side * n_quads + min(quad, n_quads - 1u));
    let mine = select(vec4(0.0), read, quad < n_quads);
    return array(
        quadBroadcast(mine, 0u), quadBroadcast(mine, 1u),
        quadBroadcast(mine, 2u), quadBroadcast(mine, 3u),
    );
}
