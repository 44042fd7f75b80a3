// As lib/share.wgsl, where a subgroup has at least eight invocations.

fn share(lid: u32, mine: vec4<f32>) -> array<vec4<f32>, 8> {
    return array(
        subgroupBroadcast(mine, 0u), subgroupBroadcast(mine, 1u),
        subgroupBroadcast(mine, 2u), subgroupBroadcast(mine, 3u),
        subgroupBroadcast(mine, 4u), subgroupBroadcast(mine, 5u),
        subgroupBroadcast(mine, 6u), subgroupBroadcast(mine, 7u),
    );
}
