//! Which rank each tensor gets.

use std::collections::BinaryHeap;

use super::Linear;

/// Ranks go up in such steps where a tensor is large enough: whole blocks of the quantised formats.
const BLOCK: usize = 32;

/// The least rank, and the step of small tensors: the kernels read vectors of 4.
pub(super) const QUAD: usize = 4;

/// The rank nearest to `fraction` of the smaller side: a multiple of 32, or of 4 below that, at
/// least 4 and at most what [`most`] allows.
pub fn uniform(fraction: f64, d_out: usize, d_in: usize) -> usize {
    let side = d_out.min(d_in);
    let wanted = fraction * side as f64;
    let step = if wanted >= BLOCK as f64 { BLOCK } else { QUAD };
    let rank = (wanted / step as f64).round() as usize * step;
    rank.clamp(QUAD, most(d_out, d_in).max(QUAD))
}

/// The highest rank of a tensor: all of the smaller side's whole quads.
pub fn most(d_out: usize, d_in: usize) -> usize {
    whole(d_out.min(d_in))
}

/// The whole quads of a rank.
pub(super) fn whole(rank: usize) -> usize {
    rank / QUAD * QUAD
}

/// Tensors that have one rank, to be given some of a budget.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Multiply-adds, and numbers stored, of one rank: the sum of the sides.
    pub cost: usize,
    /// What each rank catches, in parts of the layer's output, ranks in descending order.
    pub gains: Vec<f64>,
    /// The rank that all tensors would have alike.
    pub uniform: usize,
}

/// Hands out ranks by their gain a multiply-add until as many are spent as the uniform ranks cost.
/// Every candidate keeps a first step. Where steps are coarse for the budget the uniform ranks may
/// catch more, and are taken.
pub fn allocate(candidates: &[Candidate]) -> Vec<usize> {
    let uniform: Vec<usize> = candidates
        .iter()
        .map(|candidate| candidate.uniform.min(candidate.gains.len()))
        .collect();
    let ranks = greedy(candidates, &uniform);
    let gain = |ranks: &[usize]| -> f64 {
        let gains = ranks.iter().zip(candidates);
        gains.flat_map(|(&rank, c)| &c.gains[..rank]).sum()
    };
    if gain(&ranks) > gain(&uniform) {
        ranks
    } else {
        uniform
    }
}

fn greedy(candidates: &[Candidate], uniform: &[usize]) -> Vec<usize> {
    let step = |candidate: &Candidate| {
        if candidate.uniform >= BLOCK {
            BLOCK
        } else {
            QUAD
        }
    };
    let least = |candidate: &Candidate| step(candidate).min(candidate.gains.len());
    let mut ranks: Vec<usize> = candidates.iter().map(least).collect();
    let spent = |ranks: &[usize]| -> usize {
        let costs = ranks.iter().zip(candidates);
        costs.map(|(rank, candidate)| rank * candidate.cost).sum()
    };
    let mut left = spent(uniform).saturating_sub(spent(&ranks));
    let next = |at: usize, rank: usize| -> Option<Step> {
        let candidate = &candidates[at];
        let end = rank + step(candidate);
        let gain: f64 = candidate.gains.get(rank..end)?.iter().sum();
        let worth = gain / (step(candidate) * candidate.cost) as f64;
        Some(Step { worth, at, end })
    };
    let mut steps: BinaryHeap<Step> = (0..ranks.len())
        .filter_map(|at| next(at, ranks[at]))
        .collect();
    while let Some(Step { at, end, .. }) = steps.pop() {
        let cost = (end - ranks[at]) * candidates[at].cost;
        if cost > left {
            continue; // A cheaper tensor may still fit.
        }
        left -= cost;
        ranks[at] = end;
        steps.extend(next(at, end));
    }
    ranks
}

/// A rank's worth, ordered by it.
#[derive(Debug)]
struct Step {
    worth: f64,
    at: usize,
    end: usize,
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_worth = self.worth.total_cmp(&other.worth);
        // Ties go to the first tensor, so that the result does not depend on the heap.
        by_worth.then_with(|| other.at.cmp(&self.at))
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Step {}

/// Linears that share a rank: gate and up must, since they are one product; k and v could differ.
pub(super) const GROUPS: [&[Linear]; 6] = [
    &[Linear::Q],
    &[Linear::K],
    &[Linear::V],
    &[Linear::O],
    &[Linear::Gate, Linear::Up],
    &[Linear::Down],
];
