//! From predicted errors to a router's tensors and to the decisions that offsets are read off.

use super::run::All;
use super::{Decision, Linear, Solution, Tensor};
use crate::graph::N_LOGITS;

/// Multiply-adds of a layer's branches for a token.
pub(super) struct Macs {
    attention: f64,
    low_attention: f64,
    ffn: f64,
    low_ffn: f64,
}

impl Macs {
    pub(super) fn new(all: &All, layer: u32) -> Self {
        let sum = |is_attention: bool, cost: fn(usize, usize, usize) -> usize| -> f64 {
            let linears = Linear::ALL.into_iter();
            let linears = linears.filter(|linear| linear.is_attention() == is_attention);
            let costs = linears.map(|linear| {
                let factors = &all[&(layer, linear)];
                cost(factors.b.nrows(), factors.d.ncols(), factors.rank())
            });
            costs.sum::<usize>() as f64
        };
        let full = |d_out, d_in, _| d_out * d_in;
        let low = |d_out, d_in, rank| rank * (d_out + d_in);
        Self {
            attention: sum(true, full),
            low_attention: sum(true, low),
            ffn: sum(false, full),
            low_ffn: sum(false, low),
        }
    }

    /// All of a full layer.
    pub(super) fn all(&self) -> f64 {
        self.attention + self.ffn
    }

    /// What low attention, low FFN and no FFN save; a little at least, so that it has a logarithm.
    fn saved(&self) -> [f64; 3] {
        let saved = [
            self.attention - self.low_attention,
            self.ffn - self.low_ffn,
            self.ffn,
        ];
        saved.map(|saved| saved.max(1e-6 * self.all()))
    }
}

/// Near its optimum a model's loss grows with the square of an error.
const POWER: f64 = 2.0;

/// A layer's router: logits from predicted errors. See the head of `router.rs`.
pub(super) struct Logits<'a> {
    solution: &'a Solution,
    macs: &'a Macs,
}

impl<'a> Logits<'a> {
    /// Rows of the router's matrix behind which the three branches stand: 0 and 2 are full.
    const ROWS: [usize; 3] = [1, 3, 4];

    pub(super) fn new(solution: &'a Solution, macs: &'a Macs) -> Self {
        Self { solution, macs }
    }

    fn bias(&self) -> [f64; 3] {
        let saved = self.macs.saved();
        std::array::from_fn(|k| self.logit(saved[k], self.solution.bias[k]))
    }

    /// What saving so much is worth for an error with this logarithm.
    fn logit(&self, saved: f64, error: f64) -> f64 {
        (saved / self.macs.all()).ln() - POWER * error
    }

    pub(super) fn tensors(&self, layer: u32) -> [Tensor; 3] {
        let dim = self.solution.weights[0].len();
        let n = N_LOGITS as usize;
        let (mut weight, mut bias) = (vec![0.0; n * dim], vec![0.0; n]);
        for (k, row) in Self::ROWS.into_iter().enumerate() {
            bias[row] = self.bias()[k] as f32;
            let weights = self.solution.weights[k].iter();
            for (to, from) in weight[row * dim..].iter_mut().zip(weights) {
                *to = (-POWER * from) as f32;
            }
        }
        let tensor = |part: &str, shape: &[usize], values| Tensor {
            name: format!("layers.{layer}.router.{part}"),
            shape: shape.to_vec(),
            values,
        };
        [
            tensor("norm", &[dim], vec![1.0; dim]),
            tensor("weight", &[n, dim], weight),
            tensor("bias", &[n], bias),
        ]
    }

    /// Of the attention and the FFN for a token.
    pub(super) fn decisions(&self, features: &[f32]) -> [Decision; 2] {
        let errors = self.solution.predict(features);
        let saved = self.macs.saved();
        let branch = |k: usize| Decision {
            logit: self.logit(saved[k], errors[k]),
            saved: saved[k],
        };
        let (low, skip) = (branch(1), branch(2));
        [branch(0), if skip.logit > low.logit { skip } else { low }]
    }
}
