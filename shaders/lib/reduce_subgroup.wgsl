// As lib/reduce.wgsl, with subgroup operations for the strides that fit in a subgroup. Subgroups
// may have any power-of-two size; invocations are taken to fill them in order, which
// `deputy devices --test` verifies on a driver.

var<workgroup> reduce_scratch: array<vec4<f32>, WG>;

fn lanes_sum(lid: u32, lanes: u32, mine: vec4<f32>) -> vec4<f32> {
    let inside = min(lanes, subgroupAdd(1u)); // Every invocation is active: this is the subgroup's size.
    var sum = mine;
    // Constant bounds: a shuffle must stand in uniform control flow.
    for (var stride = 1u; stride < 128u; stride *= 2u) {
        let other = subgroupShuffleXor(sum, stride);
        if stride < inside {
            sum += other;
        }
    }
    reduce_scratch[lid] = sum;
    workgroupBarrier();
    var total = vec4(0.0);
    let first = lid - lid % lanes;
    for (var at = first; at < first + lanes; at += inside) {
        total += reduce_scratch[at];
    }
    workgroupBarrier(); // The scratch may be reused by the caller's next reduction.
    return total;
}

fn lanes_max(lid: u32, lanes: u32, mine: vec4<f32>) -> vec4<f32> {
    let inside = min(lanes, subgroupAdd(1u));
    var most = mine;
    for (var stride = 1u; stride < 128u; stride *= 2u) {
        let other = subgroupShuffleXor(most, stride);
        if stride < inside {
            most = max(most, other);
        }
    }
    reduce_scratch[lid] = most;
    workgroupBarrier();
    let first = lid - lid % lanes;
    for (var at = first; at < first + lanes; at += inside) {
        most = max(most, reduce_scratch[at]);
    }
    workgroupBarrier();
    return most;
}
