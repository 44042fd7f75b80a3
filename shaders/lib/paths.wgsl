// Which branch each token of a routed layer took. Bits 0 to 23 of a word are the number of dense rows
// up to its position, its own included; bit 24 says that its own row is a latent one.
// The kernel's Params has `n_positions`: positions of a sequence.
// Host side: src/kernels/paths.rs.

@group(0) @binding(6) var<storage, read> paths: array<u32>;         // [n_sequences, n_positions]

const N_DENSE: u32 = 0xffffffu;
const IS_LATENT: u32 = 0x1000000u;

fn path(sequence: u32, position: u32) -> u32 {
    return paths[sequence * params.n_positions + position];
}

fn is_latent(sequence: u32, position: u32) -> bool {
    return (path(sequence, position) & IS_LATENT) != 0u;
}

// Dense rows among positions 0 to `position`.
fn n_dense(sequence: u32, position: u32) -> u32 {
    return path(sequence, position) & N_DENSE;
}

fn n_latent(sequence: u32, position: u32) -> u32 {
    return position + 1u - n_dense(sequence, position);
}
