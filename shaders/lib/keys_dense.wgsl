// Which keys a row sees in the arena of dense rows: from x to before y, the dense ones from
// max(0, position + 1 - window) to its own position. They lie there in order of their positions.
// Joins: lib/rows.wgsl, lib/paths.wgsl, lib/attention.wgsl.

fn keys_of(row: Row) -> vec2<u32> {
    if row.position == PADDING {
        return vec2(0u);
    }
    var start = 0u;
    if row.position >= params.window {
        start = n_dense(row.sequence, row.position - params.window);
    }
    return vec2(start, n_dense(row.sequence, row.position));
}
