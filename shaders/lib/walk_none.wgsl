// As lib/walk.wgsl, where subgroups are narrow and a read costs more than what waits for it: nothing.
// Joins: lib/linear.wgsl.

fn walk(arm: Arm, first: u32, n: u32, lane: u32) -> u32 {
    return 0u;
}
