// Which keys a row sees where each lies at its position: from x to before y, those from
// max(0, position + 1 - window) to its own. Joins: lib/rows.wgsl, lib/attention.wgsl.

fn keys_of(row: Row) -> vec2<u32> {
    let end = select(row.position + 1u, 0u, row.position == PADDING);
    return vec2(end - min(end, params.window), end);
}
