// The attention over latent rows as one more record of the attention over dense rows:
//     y[r, n_records - 1, h, :] = B_v[g, :, :] * z[r, h, :] + bias[g, :], g = h / (n_heads / n_kv_heads)
// where z is what the splits of attention_latent.wgsl merge to; weights sum up to 1, so that a bias of the
// values stands for itself. Behind it the state (max, sum, 1, 0). Of a row without latent rows only
// four zeros are written.
//
// One workgroup WG elements of a head of a row; an invocation an element. r_v is at most 2048.
// Dispatch (n_heads, ceil(head_dim / WG), rows).
// Joins: lib/dot.wgsl, lib/weight_*.wgsl.
// Host side: src/kernels/latent_values.rs. CPU twin: src/reference/latent_values.rs.

struct Params {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    v_cols: u32,
    blocks: u32,
    w_first: u32,
    n_splits: u32,
    n_records: u32,
    has_bias: u32,
    bias_first: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// w at bindings 1 and 2: B_v in rows w_first to w_first + n_kv_heads * head_dim     [w_rows, v_cols]
@group(0) @binding(3) var<storage, read> z: array<vec4<f32>>;       // [rows, n_splits, n_heads, v_cols + 4]
@group(0) @binding(4) var<storage, read> bias: array<f32>;          // [.., n_kv_heads, head_dim] from bias_first on, or one zero
@group(0) @binding(7) var<storage, read_write> y: array<f32>;       // [rows, n_records, n_heads, head_dim + 4]

override WG: u32 = 64u;

const MAX_QUADS: u32 = 512u;

var<workgroup> merged: array<vec4<f32>, MAX_QUADS>;

@compute @workgroup_size(WG)
fn latent_values(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let head = wg.x;
    let n_quads = params.v_cols / 4u;
    let stride = params.n_heads * (n_quads + 1u);
    let first = wg.z * params.n_splits * stride + head * (n_quads + 1u);
    let n_live = min(u32(z[first + n_quads].z), params.n_splits);
    let record = ((wg.z + 1u) * params.n_records - 1u) * params.n_heads + head;
    let y_first = record * (params.head_dim + 4u);
    let is_first = wg.y == 0u && lid == 0u;
    if n_live == 0u {
        if is_first {
            store_state(y_first, vec4(0.0));
        }
        return; // Uniform: every invocation of the workgroup leaves, and no weight is read.
    }
    var most = -3.0e38;
    for (var split = 0u; split < n_live; split += 1u) {
        most = max(most, z[first + split * stride + n_quads].x);
    }
    var sum = 0.0;
    for (var split = 0u; split < n_live; split += 1u) {
        let state = z[first + split * stride + n_quads];
        sum += state.y * exp(state.x - most);
    }
    for (var quad = lid; quad < n_quads; quad += WG) {
        var total = vec4(0.0);
        for (var split = 0u; split < n_live; split += 1u) {
            let at = first + split * stride;
            let state = z[at + n_quads];
            total += state.y * exp(state.x - most) * z[at + quad];
        }
        merged[quad] = total / sum;
    }
    workgroupBarrier();

    let d = wg.y * WG + lid;
    if d < params.head_dim {
        let n = head / (params.n_heads / params.n_kv_heads) * params.head_dim + d;
        var product = 0.0;
        for (var block = 0u; block < params.blocks; block += 1u) {
            let x = merged_block(block);
            product += block_dot(params.w_first + n, block, x, sum_32(x));
        }
        if params.has_bias != 0u {
            product += bias[params.bias_first + n];
        }
        y[y_first + d] = product;
    }
    if is_first {
        store_state(y_first, vec4(most, sum, 1.0, 0.0));
    }
}

// The last block may be cut: past it w is zero.
fn merged_block(block: u32) -> array<vec4<f32>, 8> {
    var x: array<vec4<f32>, 8>;
    for (var i = 0u; i < min(8u, params.v_cols / 4u - block * 8u); i += 1u) {
        x[i] = merged[block * 8u + i];
    }
    return x;
}

fn store_state(y_first: u32, state: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        y[y_first + params.head_dim + i] = state[i];
    }
}
