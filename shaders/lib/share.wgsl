// What each of a workgroup's eight invocations holds, for all of them, through workgroup memory.
// To be called from uniform control flow.

var<workgroup> shared_quads: array<vec4<f32>, 8>;

fn share(lid: u32, mine: vec4<f32>) -> array<vec4<f32>, 8> {
    shared_quads[lid] = mine;
    workgroupBarrier();
    let all = shared_quads;
    workgroupBarrier();
    return all;
}
