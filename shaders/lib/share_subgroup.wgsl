// As lib/share.wgsl, where a subgroup has at least eight invocations.

fn share(lid: u32, mine: vec4<f32>) -> array<vec4<f32>, 8> {
    return array(
        subgroupBroadcast(mine, 0u), subgroupBroadcast(mine, 1u),
        subgroupBroadcast(mine, 2u), subgroupBroadcast(mine, 3u),
        subgroupBroadcast(mine, 4u), subgroupBroadcast(mine, 5u),
        subgroupBroadcast(mine, 6u), subgroupBroadcast(mine, 7u),
    );
}

fn own_sum(lid: u32, quads: array<vec4<f32>, 8>) -> vec4<f32> {
    var mine = vec4(0.0);
    for (var i = 0u; i < 8u; i += 1u) {
        let all = share(lid, quads[i]);
        let sum = all[0] + all[1] + all[2] + all[3] + all[4] + all[5] + all[6] + all[7];
        mine = select(mine, sum, lid == i);
    }
    return mine;
}
