//! An attention's records merged to its result, before products of many rows. See `shaders/attention_merge.wgsl`.

use super::attention::record_len;
use super::bounds::n_bytes;

/// Mirrors `Params` in `shaders/attention_merge.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of the records and of `y`.
    pub rows: u32,
    /// Columns of `y`: those of all heads.
    pub cols: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Splits of the attention.
    pub n_splits: u32,
    /// Records behind those of the splits.
    pub n_apart: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
    /// Unused.
    pub pad2: u32,
}

/// One invocation a quad.
pub fn workgroups(params: &Params, wg: u32) -> [u32; 3] {
    super::spread((params.rows * (params.cols / 4)).div_ceil(wg))
}

/// Bytes of the records and of `y`.
///
/// # Panics
/// Where the columns are no whole heads.
pub fn needs(params: &Params) -> Vec<(u32, u64)> {
    let Params {
        rows,
        cols,
        head_dim,
        n_splits,
        n_apart,
        ..
    } = *params;
    assert!(
        head_dim >= 4 && head_dim % 4 == 0 && cols % head_dim == 0 && n_splits > 0,
        "{params:?}"
    );
    let n_records = n_splits.saturating_add(n_apart);
    let x = n_bytes(&[rows, n_records, cols / head_dim, record_len(head_dim)]);
    vec![(3, x), (7, n_bytes(&[rows, cols]))]
}
