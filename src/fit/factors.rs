//! Low-rank factors of a weight: `W ≈ B D` with B `[d_out, r]` and D `[r, d_in]`.
//!
//! For any B the best D is `B⁺ W`, whatever the inputs; data enter through the choice of B. With
//! `L Lᵀ = E[x xᵀ]` the best B spans the first left singular vectors of `W L`, which are the first
//! eigenvectors of `W E[x xᵀ] Wᵀ`: then `E|W x - B D x|²` is the least of rank r.
//!
//! B is orthonormal and D carries the singular values. Block formats lose nothing by it: rows of D
//! have scales of their own, while columns of B share theirs, so that equal columns keep the error
//! of each component in proportion to the component.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use super::Error;

/// Factors of a weight, with what each rank adds. The first ranks are the best ones: cutting the
/// last off leaves the best factors of fewer ranks.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[d_out, r]`.
    pub b: Mat<f32>,
    /// `[r, d_in]`.
    pub d: Mat<f32>,
    /// Part of `|W|²` that each rank catches.
    pub energy: Vec<f64>,
    /// Part of `E|W x|²` that each rank catches.
    pub output: Vec<f64>,
    /// `E|W x|²` itself.
    pub scale: f64,
}

/// What B is chosen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Basis {
    /// The outputs over the calibration text: `damping` times the mean of the moment's diagonal is
    /// added to it, since a text leaves directions out that others use.
    Whitened {
        /// Relative damping.
        damping: f64,
    },
    /// The weight alone, for comparison.
    Plain,
}

/// Singular values of a given B below this part of the first one are cut off.
const CUT_OFF: f64 = 1e-10;

impl Factors {
    /// Of a weight `[d_out, d_in]` whose inputs have the second moment `moment`.
    ///
    /// # Errors
    /// [`Error::Algebra`] where the numbers are not finite.
    pub fn new(
        name: &str,
        w: &Mat<f64>,
        moment: &Mat<f64>,
        rank: usize,
        basis: Basis,
    ) -> Result<Self, Error> {
        let rank = rank.min(w.nrows()).min(w.ncols());
        let outputs = w * moment;
        let b = match basis {
            Basis::Whitened { damping } => {
                let diagonal = moment.diagonal().column_vector();
                let mean = diagonal.iter().sum::<f64>() / w.ncols() as f64;
                // A text that never moves an input leaves nothing to divide by.
                let damping = (damping * mean).max(f64::MIN_POSITIVE);
                whitened(w, &outputs, moment, damping, rank)
            }
            Basis::Plain => plain(w, rank),
        };
        let b = b.ok_or_else(|| algebra(name))?;
        Ok(Self::projected(w, &outputs, moment, b))
    }

    /// With a B `[d_out, r]` that was given, as LoRA's: `D = B⁺ W`. The factors span what B spans
    /// and are orthonormal.
    ///
    /// # Errors
    /// [`Error::Algebra`] where the numbers are not finite.
    pub fn given(name: &str, w: &Mat<f64>, moment: &Mat<f64>, b: &Mat<f64>) -> Result<Self, Error> {
        let svd = b.thin_svd().map_err(|_| algebra(name))?;
        let values = svd.S().column_vector();
        let least = CUT_OFF * values.iter().copied().fold(0.0, f64::max);
        let rank = values.iter().take_while(|&&value| value > least).count();
        let outputs = w * moment;
        let q = svd.U().subcols(0, rank).to_owned();
        // Within the span the best order is that of the outputs.
        let inner = q.transpose() * &outputs * (w.transpose() * &q);
        let (turn, _) = top_eigenvectors(&inner, rank).ok_or_else(|| algebra(name))?;
        Ok(Self::projected(w, &outputs, moment, q * turn))
    }

    /// `outputs` is `W E[x xᵀ]`, the columns of `b` are orthonormal.
    fn projected(w: &Mat<f64>, outputs: &Mat<f64>, moment: &Mat<f64>, b: Mat<f64>) -> Self {
        let d = b.transpose() * w;
        let moved = &d * moment;
        let total = w.squared_norm_l2();
        let scale = inner_products(w.as_ref(), outputs.as_ref()).iter().sum();
        let share = |parts: Vec<f64>, total: f64| {
            let total = if total > 0.0 { total } else { 1.0 };
            parts.into_iter().map(|part| part / total).collect()
        };
        let energy = inner_products(d.as_ref(), d.as_ref());
        let output = inner_products(d.as_ref(), moved.as_ref());
        Self {
            b: Mat::from_fn(b.nrows(), b.ncols(), |i, j| b[(i, j)] as f32),
            d: Mat::from_fn(d.nrows(), d.ncols(), |i, j| d[(i, j)] as f32),
            energy: share(energy, total),
            output: share(output, scale),
            scale,
        }
    }

    /// Ranks.
    pub fn rank(&self) -> usize {
        self.energy.len()
    }

    /// Keeps the first ranks.
    pub fn cut(&mut self, rank: usize) {
        if rank < self.rank() {
            self.b = self.b.subcols(0, rank).to_owned();
            self.d = self.d.subrows(0, rank).to_owned();
            self.energy.truncate(rank);
            self.output.truncate(rank);
        }
    }

    /// Part of `|W|²` that `B D` has.
    pub fn captured(&self) -> f64 {
        self.energy.iter().sum()
    }

    /// `E|W x - B D x|² / E|W x|²` over the calibration text.
    pub fn output_error(&self) -> f64 {
        (1.0 - self.output.iter().sum::<f64>()).max(0.0)
    }
}

/// The first eigenvectors of `W M Wᵀ`, or what spans the same, by the smaller side's matrix.
fn whitened(
    w: &Mat<f64>,
    outputs: &Mat<f64>,
    moment: &Mat<f64>,
    damping: f64,
    rank: usize,
) -> Option<Mat<f64>> {
    if w.nrows() <= w.ncols() {
        let mut c = outputs * w.transpose();
        matmul(&mut c, Accum::Add, w, w.transpose(), damping, Par::rayon(0));
        return Some(top_eigenvectors(&c, rank)?.0);
    }
    let mut damped = moment.clone();
    for i in 0..damped.nrows() {
        damped[(i, i)] += damping;
    }
    let llt = damped.llt(Side::Lower).ok()?;
    let wl = w * llt.L();
    let (v, _) = top_eigenvectors(&(wl.transpose() * &wl), rank)?;
    // Orthonormal also where singular values drown in those before them.
    Some((wl * v).qr().compute_thin_Q())
}

/// The first left singular vectors of `W`.
fn plain(w: &Mat<f64>, rank: usize) -> Option<Mat<f64>> {
    if w.nrows() <= w.ncols() {
        return Some(top_eigenvectors(&(w * w.transpose()), rank)?.0);
    }
    let (v, _) = top_eigenvectors(&(w.transpose() * w), rank)?;
    Some((w * v).qr().compute_thin_Q())
}

/// The eigenvectors of the largest eigenvalues of a symmetric matrix, the largest first.
pub(super) fn top_eigenvectors(c: &Mat<f64>, n: usize) -> Option<(Mat<f64>, Vec<f64>)> {
    let eigen = c.self_adjoint_eigen(Side::Lower).ok()?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    // They come in ascending order.
    let last = c.nrows() - 1;
    let values: Vec<f64> = (0..n).map(|i| values[last - i]).collect();
    let vectors = Mat::from_fn(c.nrows(), n, |i, j| vectors[(i, last - j)]);
    let finite = values.iter().all(|value| value.is_finite());
    finite.then_some((vectors, values))
}

/// The product of each row of `a` with that of `b`.
fn inner_products(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Vec<f64> {
    let mut sums = vec![0.0; a.nrows()];
    for j in 0..a.ncols() {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += a[(i, j)] * b[(i, j)];
        }
    }
    sums
}

fn algebra(name: &str) -> Error {
    Error::Algebra {
        tensor: name.to_owned(),
    }
}
