//! The attention over latent rows, brought into the space of the values. See `shaders/latent_values.wgsl`.

use super::attention::record_len;
use super::attention_latent::MAX_V_COLS;
use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/latent_values.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `z` and `y`.
    pub rows: u32,
    /// Query heads in a row.
    pub n_heads: u32,
    /// Value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Columns of `z` and of `B_v`: its rank.
    pub v_cols: u32,
    /// Blocks of 32 columns in a row of `B_v`, the last one filled up with zeros.
    pub blocks: u32,
    /// The first row of the weight that is `B_v`'s.
    pub w_first: u32,
    /// Splits of `z`.
    pub n_splits: u32,
    /// Records of a row in `y`, of which the last one is written: `n_splits + n_apart` of the attention over dense
    /// rows, `n_apart` at least 1.
    pub n_records: u32,
    /// 1 if values have a bias.
    pub has_bias: u32,
    /// Where it begins in the vector that it is a part of.
    pub bias_first: u32,
    /// Unused.
    pub pad0: u32,
}

/// Rows of the weight that there must be.
pub(super) fn weight_rows(params: &Params) -> u32 {
    params
        .w_first
        .saturating_add(params.n_kv_heads.saturating_mul(params.head_dim))
}

/// One workgroup some elements of a head of a row.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    [params.n_heads, params.head_dim.div_ceil(wg), params.rows]
}

/// Bytes of `z`, `bias` and `y`.
///
/// # Panics
/// Where the heads are no whole groups, or the rank is too large.
pub fn needs(params: &Params) -> Vec<(u32, u64)> {
    let Params {
        rows,
        n_heads,
        n_kv_heads,
        head_dim,
        v_cols,
        ..
    } = *params;
    assert!(
        n_kv_heads > 0 && n_heads > 0 && n_heads % n_kv_heads == 0 && head_dim > 0,
        "{params:?}"
    );
    assert!(
        v_cols % 4 == 0
            && (4..=MAX_V_COLS).contains(&v_cols)
            && v_cols.div_ceil(32) <= params.blocks
            && params.n_splits > 0
            && params.n_records > 1,
        "{params:?}"
    );
    let bias = match params.has_bias {
        0 => 1,
        _ => n_kv_heads
            .saturating_mul(head_dim)
            .saturating_add(params.bias_first),
    };
    vec![
        (
            3,
            n_bytes(&[rows, params.n_splits, n_heads, record_len(v_cols)]),
        ),
        (4, n_bytes(&[bias])),
        (
            7,
            n_bytes(&[rows, params.n_records, n_heads, record_len(head_dim)]),
        ),
    ]
}
