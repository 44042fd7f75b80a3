//! Second moments `E[x xᵀ]` of what linears read.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

/// A sum of outer products. Products are made in f32, some rows at a time, and summed in f64; so
/// the rounding does not grow with the text.
pub struct Moment {
    cols: usize,
    n: usize,
    /// The lower triangle.
    sum: Mat<f64>,
    /// Rows that wait to be multiplied.
    pending: Vec<f32>,
}

/// Rows of a product: enough for the sum's own cost, an addition for each element, to vanish.
const ROWS: usize = 512;

/// Columns of the blocks that the triangle is made of.
const BLOCK: usize = 1024;

impl Moment {
    /// Of rows of `cols` elements; none so far.
    pub fn new(cols: usize) -> Self {
        Self {
            cols,
            n: 0,
            sum: Mat::zeros(cols, cols),
            pending: vec![],
        }
    }

    /// Bytes that it takes.
    pub const fn n_bytes(cols: usize) -> u64 {
        let (cols, rows) = (cols as u64, ROWS as u64);
        8 * cols * cols + 2 * 4 * rows * cols
    }

    /// Takes rows: `[_, cols]`.
    pub fn add(&mut self, rows: &[f32]) {
        debug_assert!(rows.len().is_multiple_of(self.cols), "whole rows");
        self.n += rows.len() / self.cols;
        self.pending.extend_from_slice(rows);
        if self.pending.len() >= ROWS * self.cols {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let n_rows = self.pending.len() / self.cols;
        if n_rows == 0 {
            return;
        }
        let x = MatRef::from_row_major_slice(&self.pending, n_rows, self.cols);
        for first in (0..self.cols).step_by(BLOCK) {
            let width = BLOCK.min(self.cols - first);
            for below in (first..self.cols).step_by(BLOCK) {
                let height = BLOCK.min(self.cols - below);
                let mut product: Mat<f32> = Mat::zeros(height, width);
                matmul(
                    &mut product,
                    Accum::Replace,
                    x.subcols(below, height).transpose(),
                    x.subcols(first, width),
                    1.0,
                    Par::rayon(0),
                );
                for j in 0..width {
                    let sum = &mut self.sum.col_as_slice_mut(first + j)[below..];
                    for (sum, &product) in sum.iter_mut().zip(product.col_as_slice(j)) {
                        *sum += f64::from(product);
                    }
                }
            }
        }
        self.pending.clear();
    }

    /// Rows taken.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The sums, `[cols, cols]`: `n` times the moment.
    pub fn sums(mut self) -> Mat<f64> {
        self.flush();
        for j in 0..self.cols {
            for i in 0..j {
                self.sum[(i, j)] = self.sum[(j, i)];
            }
        }
        self.sum
    }

    /// The moment, `[cols, cols]`.
    pub fn mean(self) -> Mat<f64> {
        let n = self.n.max(1) as f64;
        let mut sum = self.sums();
        for j in 0..sum.ncols() {
            for value in sum.col_as_slice_mut(j) {
                *value /= n;
            }
        }
        sum
    }
}
