// Reductions of four values at a time over each aligned group of `lanes` neighbours (a power of two,
// at most WG), through workgroup memory. Every invocation of the workgroup must call them, from
// uniform control flow, and gets its group's result.
// The kernel that joins this declares `override WG: u32`, a power of two.

var<workgroup> reduce_scratch: array<vec4<f32>, WG>;

fn lanes_sum(lid: u32, lanes: u32, mine: vec4<f32>) -> vec4<f32> {
    reduce_scratch[lid] = mine;
    for (var stride = lanes / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lid % lanes < stride {
            reduce_scratch[lid] += reduce_scratch[lid + stride];
        }
    }
    workgroupBarrier();
    let sum = reduce_scratch[lid - lid % lanes];
    workgroupBarrier(); // The scratch may be reused by the caller's next reduction.
    return sum;
}

fn lanes_max(lid: u32, lanes: u32, mine: vec4<f32>) -> vec4<f32> {
    reduce_scratch[lid] = mine;
    for (var stride = lanes / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lid % lanes < stride {
            reduce_scratch[lid] = max(reduce_scratch[lid], reduce_scratch[lid + stride]);
        }
    }
    workgroupBarrier();
    let most = reduce_scratch[lid - lid % lanes];
    workgroupBarrier();
    return most;
}
