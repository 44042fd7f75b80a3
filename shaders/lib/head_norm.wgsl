// What a head is multiplied with to norm it, from the sum of its squares.
// Joins: lib/reduce.wgsl or lib/reduce_subgroup.wgsl.

fn head_scale(lid: u32, square: f32) -> f32 {
    return inverseSqrt(workgroup_sum(lid, square) / f32(params.head_dim) + params.eps);
}
