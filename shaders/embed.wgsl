// y[r, :] = table[token of row r, :] * scale
//
// One invocation a block of 32 columns. Dispatch (ceil(blocks / WG), rows, 1).
// A table split by its rows takes one dispatch a part; each writes the rows whose token it holds.
// Joins: lib/rows.wgsl, lib/weight_*.wgsl.
// Host side: src/kernels/embed.rs. CPU twin: src/reference/embed.rs.

struct Params {
    rows: u32,
    cols: u32,
    blocks: u32,
    n_ctx: u32,
    first_token: u32,
    n_tokens: u32,
    scale: f32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> rows: array<Row>;          // [rows]
@group(0) @binding(4) var<storage, read> tokens: array<u32>;        // [n_sequences, n_ctx]
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>; // [rows, cols]

override WG: u32 = 32u;

@compute @workgroup_size(WG)
fn embed(@builtin(global_invocation_id) id: vec3<u32>) {
    let block = id.x;
    if block >= params.blocks {
        return;
    }
    let row = rows[id.y];
    // A padding row takes the zeros of no token; the first part of the table writes them.
    let padding = row.position == PADDING;
    var token = 0u;
    if !padding {
        token = tokens[row.sequence * params.n_ctx + row.position];
    }
    if token - params.first_token >= params.n_tokens {
        return; // Wraps below the first token, so one comparison serves both ends.
    }
    let values = decode_block(token - params.first_token, block);
    let n_quads = min(8u, params.cols / 4u - block * 8u);
    let at = id.y * (params.cols / 4u) + block * 8u;
    let scale = select(params.scale, 0.0, padding);
    for (var quad = 0u; quad < n_quads; quad += 1u) {
        y[at + quad] = values[quad] * scale;
    }
}
