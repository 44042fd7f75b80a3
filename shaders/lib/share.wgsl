// What each of a workgroup's eight invocations holds, for all of them, through workgroup memory.
// To be called from uniform control flow.

var<workgroup> shared_quads: array<vec4<f32>, 64>;

fn share(lid: u32, mine: vec4<f32>) -> array<vec4<f32>, 8> {
    shared_quads[lid] = mine;
    workgroupBarrier();
    let all = of_all(0u, 1u);
    workgroupBarrier();
    return all;
}

// The sum over the eight of the quad that has the invocation's own number.
fn own_sum(lid: u32, quads: array<vec4<f32>, 8>) -> vec4<f32> {
    let first = lid * 8u;
    shared_quads[first] = quads[0];
    shared_quads[first + 1u] = quads[1];
    shared_quads[first + 2u] = quads[2];
    shared_quads[first + 3u] = quads[3];
    shared_quads[first + 4u] = quads[4];
    shared_quads[first + 5u] = quads[5];
    shared_quads[first + 6u] = quads[6];
    shared_quads[first + 7u] = quads[7];
    workgroupBarrier();
    let all = of_all(lid, 8u);
    workgroupBarrier();
    return all[0] + all[1] + all[2] + all[3] + all[4] + all[5] + all[6] + all[7];
}

fn of_all(first: u32, stride: u32) -> array<vec4<f32>, 8> {
    return array(
        shared_quads[first], shared_quads[first + stride],
        shared_quads[first + 2u * stride], shared_quads[first + 3u * stride],
        shared_quads[first + 4u * stride], shared_quads[first + 5u * stride],
        shared_quads[first + 6u * stride], shared_quads[first + 7u * stride],
    );
}
