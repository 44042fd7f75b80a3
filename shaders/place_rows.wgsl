// The lists and the paths of rows whose branches route.wgsl has decided, a workgroup each: see
// lib/place.wgsl. Dispatch (1, 1, 1).
// Joins: lib/rows.wgsl, lib/routes.wgsl, lib/route.wgsl, lib/place.wgsl.
// Host side: src/kernels/route.rs. CPU twin: src/reference/route.rs.

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn place_rows(@builtin(local_invocation_index) lid: u32) {
    start_placing(lid);
    for (var r = lid; r < params.rows; r += WG) {
        remember(r, rows[r], routes[4u * r]);
    }
    place(lid);
}
