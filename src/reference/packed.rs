//! A weight matrix as the device holds it.

use crate::tensor::{
    DType,
    quant::{packed_row, unpack_row},
};

/// Words of a weight matrix in the layouts of [`crate::tensor::quant`], row after row.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// The values.
    pub q: &'a [u32],
    /// The scales; empty for plain types.
    pub s: &'a [u32],
}

impl Packed<'_> {
    /// The values of row `row`, `cols` of them, into `out`.
    ///
    /// # Panics
    /// Where the matrix has no such row, or `out` is not `cols` long.
    pub fn row(&self, dtype: DType, row: usize, cols: usize, out: &mut [f32]) {
        let words = packed_row(dtype, cols);
        let q = &self.q[row * words.q_words..][..words.q_words];
        let s = &self.s[row * words.s_words..][..words.s_words];
        unpack_row(dtype, q, s, cols, out);
    }
}
