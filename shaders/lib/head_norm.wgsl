// What a head is multiplied with to norm it, from the sum of its squares.
// Joins: lib/reduce.wgsl or lib/reduce_subgroup.wgsl.

fn head_scale(lid: u32, square: f32) -> f32 {
    return inverseSqrt(lanes_sum(lid, WG, vec4(square)).x / f32(params.head_dim) + params.eps);
}
