// Reductions over the workgroup, through workgroup memory. Every invocation of
// the workgroup must call them, from uniform control flow, and gets the total.
// The kernel that joins this declares `override WG: u32`, a power of two.

var<workgroup> reduce_scratch: array<f32, WG>;

fn workgroup_sum(lid: u32, value: f32) -> f32 {
    return lanes_sum(lid, WG, value);
}

// Sum over each aligned group of `lanes` neighbours (a power of two, at most WG).
fn lanes_sum(lid: u32, lanes: u32, value: f32) -> f32 {
    reduce_scratch[lid] = value;
    for (var stride = lanes / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lid % lanes < stride {
            reduce_scratch[lid] += reduce_scratch[lid + stride];
        }
    }
    workgroupBarrier();
    let total = reduce_scratch[lid - lid % lanes];
    workgroupBarrier(); // The scratch may be reused by the caller's next sum.
    return total;
}
