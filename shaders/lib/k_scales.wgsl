// The (scale, minimum) of sub-block `j` of a q4_k or q5_k super-block whose scales begin at `s`:
// four words: (d, dmin) in f16; the low 4 bits of eight scales; of eight minima; both's high 2 bits.

fn sub_block_affine(s: u32, j: u32) -> vec2<f32> {
    let high = w_s[s + 3u];
    let scale = ((w_s[s + 1u] >> (4u * j)) & 15u) | (((high >> (2u * j)) & 3u) << 4u);
    let minimum = ((w_s[s + 2u] >> (4u * j)) & 15u) | (((high >> (16u + 2u * j)) & 3u) << 4u);
    return halves(w_s[s]) * vec2(f32(scale), f32(minimum));
}
