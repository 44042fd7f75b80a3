//! The router, by regression: from the residual stream to the logarithm of each branch's error.
//!
//! A branch should be taken where its error is small for the multiply-adds that it saves. Near its
//! optimum a model's loss grows with the square of an error; so for a price λ of a multiply-add,
//! full costs λ·C and a branch costs `error² + λ·(C - saved)`: the branch is better where
//! `error² < λ·saved`, or `ln saved - 2 ln error > -ln λ`. The left side is the branch's logit, 0
//! that of full, and `-ln λ` the offset of full: one number for all layers and both heads. Between
//! low and skip the higher logit saves more for its error; weighed exactly, their difference would
//! depend on λ, which a logit cannot.
//!
//! `saved` is in parts of the layer's own multiply-adds, so that logits stay small.
//!
//! What comes of it, and of the error itself in place of its square: benches/record/routing.md.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use super::Moment;
use super::branches::N_BRANCHES;

/// The moments of features and targets that a ridge regression needs, gathered row by row; some
/// rows are held out to choose its strength and to judge it.
pub struct Regression {
    dim: usize,
    fitted: Moment,
    held_out: Moment,
    row: Vec<f32>,
}

/// A linear rule for each target.
#[derive(Clone, Debug)]
pub struct Solution {
    /// `[3][dim]`.
    pub weights: [Vec<f64>; N_BRANCHES],
    /// `[3]`.
    pub bias: [f64; N_BRANCHES],
    /// Part of each target's variance that is explained in the rows held out, or in all of them
    /// where none were; 0 at the least.
    pub r2: [f64; N_BRANCHES],
    /// The targets' means.
    pub mean: [f64; N_BRANCHES],
}

/// Strengths that are tried, in parts of the features' mean variance.
const RIDGES: [f64; 6] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

impl Regression {
    /// On features of `dim` elements.
    pub fn new(dim: usize) -> Self {
        Self {
            dim,
            fitted: Moment::new(dim + 1 + N_BRANCHES),
            held_out: Moment::new(dim + 1 + N_BRANCHES),
            row: vec![],
        }
    }

    /// Bytes that it takes.
    pub const fn n_bytes(dim: usize) -> u64 {
        // Two, and their copies while they are solved.
        4 * Moment::n_bytes(dim + 1 + N_BRANCHES)
    }

    /// Takes a row's features and targets.
    pub fn add(&mut self, features: &[f32], targets: [f64; N_BRANCHES], is_held_out: bool) {
        self.row.clear();
        self.row.extend_from_slice(features);
        self.row.push(1.0);
        self.row.extend(targets.map(|target| target as f32));
        let moment = if is_held_out {
            &mut self.held_out
        } else {
            &mut self.fitted
        };
        moment.add(&self.row);
    }

    /// Solves it: the strength that serves the rows held out best, then all rows together. `None`
    /// without rows, or where they are not finite.
    pub fn solve(self) -> Option<Solution> {
        let dim = self.dim;
        let fitted = self.fitted.sums();
        let held_out = self.held_out.sums();
        let all = &fitted + &held_out;
        let judged = if held_out[(dim, dim)] > 0.0 {
            Statistics::new(&held_out, dim)?
        } else {
            Statistics::new(&all, dim)?
        };
        let first = Statistics::new(&fitted, dim)?;
        let mut best: Option<(f64, f64, [f64; N_BRANCHES])> = None;
        for ridge in RIDGES {
            let Some(weights) = first.solve(ridge) else {
                continue;
            };
            let bias = first.bias(&weights);
            let r2 = judged.r2(&weights, bias);
            let sum: f64 = r2.iter().sum();
            if sum.is_finite() && best.is_none_or(|(most, ..)| sum > most) {
                best = Some((sum, ridge, r2));
            }
        }
        let (_, ridge, r2) = best?;
        let last = Statistics::new(&all, dim)?;
        let weights = last.solve(ridge)?;
        Some(Solution {
            bias: last.bias(&weights),
            weights: std::array::from_fn(|k| weights.col_as_slice(k).to_vec()),
            r2: r2.map(|r2| r2.max(0.0)),
            mean: last.targets,
        })
    }
}

impl Solution {
    /// What it predicts of a row.
    pub fn predict(&self, features: &[f32]) -> [f64; N_BRANCHES] {
        std::array::from_fn(|k| {
            let products = features.iter().zip(&self.weights[k]);
            self.bias[k] + products.map(|(x, w)| f64::from(*x) * w).sum::<f64>()
        })
    }
}

/// Means and covariances of some rows.
struct Statistics {
    features: Vec<f64>,
    targets: [f64; N_BRANCHES],
    /// `[dim, dim]`.
    covariance: Mat<f64>,
    /// `[dim, 3]`.
    cross: Mat<f64>,
    variance: [f64; N_BRANCHES],
}

impl Statistics {
    fn new(sums: &Mat<f64>, dim: usize) -> Option<Self> {
        let n = sums[(dim, dim)];
        if n < 1.0 {
            return None;
        }
        let mean = |at: usize| sums[(at, dim)] / n;
        let covariance = |a: usize, b: usize| sums[(a, b)] / n - mean(a) * mean(b);
        let target = |k: usize| dim + 1 + k;
        Some(Self {
            features: (0..dim).map(mean).collect(),
            targets: std::array::from_fn(|k| mean(target(k))),
            covariance: Mat::from_fn(dim, dim, covariance),
            cross: Mat::from_fn(dim, N_BRANCHES, |i, k| covariance(i, target(k))),
            variance: std::array::from_fn(|k| covariance(target(k), target(k))),
        })
    }

    fn solve(&self, ridge: f64) -> Option<Mat<f64>> {
        let dim = self.features.len();
        let mut damped = self.covariance.clone();
        let trace: f64 = (0..dim).map(|i| damped[(i, i)]).sum();
        let damping = ridge * (trace / dim as f64).max(f64::MIN_POSITIVE);
        for i in 0..dim {
            damped[(i, i)] += damping;
        }
        Some(damped.llt(Side::Lower).ok()?.solve(&self.cross))
    }

    fn bias(&self, weights: &Mat<f64>) -> [f64; N_BRANCHES] {
        std::array::from_fn(|k| self.targets[k] - dot(weights.col_as_slice(k), &self.features))
    }

    fn r2(&self, weights: &Mat<f64>, bias: [f64; N_BRANCHES]) -> [f64; N_BRANCHES] {
        let moved = &self.covariance * weights;
        std::array::from_fn(|k| {
            let w = weights.col_as_slice(k);
            let off = bias[k] + dot(w, &self.features) - self.targets[k];
            let wrong = self.variance[k] - 2.0 * dot(w, self.cross.col_as_slice(k))
                + dot(w, moved.col_as_slice(k))
                + off * off;
            // A target that never changes is explained by its mean; so small a variance is rounding.
            if self.variance[k] > 1e-9 {
                1.0 - wrong / self.variance[k]
            } else {
                0.0
            }
        })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A token's features: the row over the root of its mean square. The gains are ones.
pub(super) fn features(row: &[f32], eps: f32, out: &mut Vec<f32>) {
    let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / row.len() as f64;
    let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
    out.clear();
    out.extend(row.iter().map(|x| x * scale));
}

/// A decision of a head for a token of the text.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The highest logit of the cheap branches: with a lower offset of full it is taken.
    pub logit: f64,
    /// Multiply-adds that it saves.
    pub saved: f64,
}

/// The offsets of an effort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// From 0, as cheap as the branches allow, to 1, all full.
    pub effort: f64,
    /// Added to the logit of the full attention.
    pub attention: f64,
    /// Added to the logit of the full FFN.
    pub ffn: f64,
    /// Part of the layers' multiply-adds that ran over the text with it.
    pub share: f64,
}

/// Offsets whose shares of compute lie evenly between the least possible and all. `total` are the
/// multiply-adds of all decisions, taken full, and of what is not decided.
pub fn offsets(mut decisions: Vec<Decision>, total: f64) -> Vec<Offset> {
    decisions.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    let all_saved: f64 = decisions.iter().map(|decision| decision.saved).sum();
    let logit = |at: usize| decisions.get(at).map(|decision| decision.logit);
    let mut offsets = vec![];
    let (mut at, mut saved) = (decisions.len(), all_saved);
    for step in 0..=10 {
        let effort = f64::from(step) / 10.0;
        // From the cheapest on, the decisions worth the least become full.
        let wanted = (1.0 - effort) * all_saved;
        while at > 0 && (saved > wanted + 1e-9 * all_saved || effort == 1.0) {
            at -= 1;
            saved -= decisions[at].saved;
        }
        let offset = match (at.checked_sub(1).and_then(logit), logit(at)) {
            (Some(taken), Some(full)) => (taken + full) / 2.0,
            (Some(taken), None) => taken - 1.0,
            (None, Some(full)) => full + 1.0,
            (None, None) => 0.0,
        };
        offsets.push(Offset {
            effort,
            attention: offset,
            ffn: offset,
            share: 1.0 - saved.max(0.0) / total.max(f64::MIN_POSITIVE),
        });
    }
    offsets
}
