// y[i] = act(gate[i]) * up[i], act(g) = g / (1 + exp(-g)) (SiLU), or GELU in its tanh form
// where `gelu` (Hendrycks & Gimpel 2016). With SiLU this is SwiGLU (Shazeer 2020).
//
// One invocation four elements. With G = ceil(quads / WG): dispatch (min(G, 65535), ceil(G / 65535), 1).
// Host side: src/kernels/gated_act.rs. CPU twin: src/reference/gated_act.rs.

struct Params {
    quads: u32,
    gelu: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4<f32>>;    // [4 * quads]
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;      // [4 * quads]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [4 * quads]

override WG: u32 = 64u;

@compute @workgroup_size(WG)
fn gated_act(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wg.x + wg.y * 65535u) * WG + lid;
    if i >= params.quads {
        return;
    }
    let g = gate[i];
    var act: vec4<f32>;
    if params.gelu != 0u {
        let inner = 0.7978845608 * (g + 0.044715 * g * g * g); // sqrt(2 / pi)
        act = 0.5 * g * (1.0 + tanh(clamp(inner, vec4(-20.0), vec4(20.0))));
    } else {
        // exp(-g) may be infinite for very negative g: the quotient is then zero, as it should be.
        act = g / (1.0 + exp(min(-g, vec4(88.0))));
    }
    y[i] = act * up[i];
}
