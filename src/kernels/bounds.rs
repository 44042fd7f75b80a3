//! How far a call reaches into its buffers. Natively shaders run without bounds checks, so the host
//! proves once for each dispatch what the device would otherwise check at each access.

use super::{
    CacheType, Call, PADDING, Row, add, attention, attention_latent, attention_merge, cache_copy,
    cache_write, embed, flatten_rows, gated_act, gather_rows, latent_keys, latent_values, linear,
    quantize_rows, rms_norm, route, sample,
};
use crate::tensor::DType;
use crate::tensor::quant::packed_row;

/// What the numbers that buffers hold may point to. Whoever writes them keeps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the largest step; output rows are among them.
    pub rows: u32,
    /// Sequences that rows name.
    pub n_sequences: u32,
    /// Positions that rows name in a sequence, but for [`PADDING`].
    pub n_ctx: u32,
}

impl Bounds {
    /// Whether a row names a sequence and a position that there are.
    pub fn contain(&self, row: Row) -> bool {
        row.sequence < self.n_sequences && (row.position < self.n_ctx || row.position == PADDING)
    }

    /// Bytes of the tokens of all sequences, where a sequence has `n_ctx` positions.
    pub(super) fn token_bytes(&self, n_ctx: u32) -> u64 {
        n_bytes(&[self.n_sequences, n_ctx.max(self.n_ctx)])
    }

    /// Bytes of an arena with so many rows of each sequence, and `first` rows of others before it.
    pub(super) fn arena_bytes(&self, first: u32, n_rows: u32, cols: u32, cache: CacheType) -> u64 {
        let n_rows = u64::from(self.n_sequences) * u64::from(n_rows) + u64::from(first);
        n_rows.saturating_mul(cache.row_bytes(cols.into()))
    }

    /// Bytes of the keys or values of a layer.
    pub(super) fn cache_bytes(&self, n_ctx: u32, kv_dim: u32, cache: CacheType) -> u64 {
        let n_positions = self.token_bytes(n_ctx) / 4;
        n_positions.saturating_mul(cache.row_bytes(kv_dim.into()))
    }
}

impl Call {
    /// Bytes that each binding must have at least, binding by binding: all that the kernel reads
    /// and writes as long as the contents of its buffers keep to `bounds`.
    ///
    /// # Panics
    /// Where the parameters contradict each other.
    pub fn needs(&self, bounds: &Bounds) -> Vec<(u32, u64)> {
        let from_1 = |needs: &[u64]| (1..).zip(needs.iter().copied()).collect();
        match self {
            Call::Embed(dtype, p) => {
                weighted(*dtype, p.n_tokens, p.blocks, &embed::needs(p, bounds))
            }
            Call::RmsNorm(p) => from_1(&rms_norm::needs(p)),
            Call::MatVec(form, p) | Call::MatMul(form, p) => {
                let mut needs = weighted(form.dtype, linear::weight_rows(p), p.blocks, &[]);
                needs.extend(linear::needs(*form, p));
                needs
            }
            Call::QuantizeRows(p) => from_1(&quantize_rows::needs(p)),
            Call::FlattenRows(p) => from_1(&flatten_rows::needs(p)),
            Call::CacheWrite(form, p) => cache_write::needs(*form, p, bounds),
            Call::CacheCopy(form, p) => cache_copy::needs(*form, p, bounds),
            Call::Attention(form, p) => attention::needs(*form, p, bounds),
            Call::AttentionLatent(form, p) => attention_latent::needs(*form, p, bounds),
            Call::AttentionMerge(p) => attention_merge::needs(p),
            Call::LatentKeys(form, p) => {
                let mut needs = weighted(form.dtype, latent_keys::weight_rows(p), p.blocks, &[]);
                needs.extend(latent_keys::needs(*form, p, bounds));
                needs
            }
            Call::LatentValues(dtype, p) => {
                let mut needs = weighted(*dtype, latent_values::weight_rows(p), p.blocks, &[]);
                needs.extend(latent_values::needs(p));
                needs
            }
            Call::GatedAct(p) => from_1(&gated_act::needs(p)),
            Call::Add(p) => from_1(&add::needs(p)),
            Call::GatherRows(p) => from_1(&gather_rows::needs(p, bounds)),
            Call::Route(p) => from_1(&route::needs(p, bounds)),
            Call::PlaceRows(p) => [1, 7, 8]
                .into_iter()
                .zip(route::place_needs(p, bounds))
                .collect(),
            Call::Sample(p) => from_1(&sample::needs(p, bounds)),
        }
    }

    /// Whether `have`, the bytes bound at each binding, is all that the call needs.
    ///
    /// # Panics
    /// As [`Call::needs`].
    pub(crate) fn fits(&self, bounds: &Bounds, have: &[(u32, u64)]) -> bool {
        let needs = self.needs(bounds);
        let holds = |(need, have): (&(u32, u64), &(u32, u64))| need.0 == have.0 && need.1 <= have.1;
        needs.len() == have.len() && needs.iter().zip(have).all(holds)
    }
}

/// What a call with a packed weight at bindings 1 and 2 needs; plain types have no scales.
fn weighted(dtype: DType, rows: u32, blocks: u32, rest: &[u64]) -> Vec<(u32, u64)> {
    let row = packed_row(dtype, 32 * blocks as usize);
    let mut needs = vec![(1, n_bytes(&[rows, row.q_words as u32]))];
    if dtype.is_quantized() {
        needs.push((2, n_bytes(&[rows, row.s_words as u32])));
    }
    needs.extend((3..).zip(rest.iter().copied()));
    needs
}

/// Bytes of an array of 4-byte elements.
pub(super) fn n_bytes(dims: &[u32]) -> u64 {
    dims.iter()
        .fold(4, |n: u64, &dim| n.saturating_mul(dim.into()))
}

/// Bytes of so many [`Row`]s.
pub(super) fn row_bytes(rows: u32) -> u64 {
    u64::from(rows) * size_of::<Row>() as u64
}
