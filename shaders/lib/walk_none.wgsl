// As lib/walk.wgsl, where subgroups have less than eight invocations: nothing is read ahead.
// Joins: lib/linear.wgsl.

fn walk(arm: Arm, first: u32, n: u32, lane: u32) -> u32 {
    return 0u;
}
