//! Projections of one input, side by side in one pair of arrays, so that one product makes them all.

use super::MAX_BINDING;
use super::memory::{Stacked, WeightLayout};
use crate::graph::{Factors, Graph, Op, Projection, WeightId};
use crate::tensor::quant::PackedRow;

/// Stacks the projections of each [`Op::Linear`] that have one format, and their biases. Behind those
/// that rows on the low-rank branch leave out come the factors that take their place. Second
/// factors that are alike are stacked as their projections are.
pub fn stack(graph: &Graph, layouts: &mut [WeightLayout]) {
    for node in graph.nodes() {
        let Op::Linear {
            parts, branches, ..
        } = &node.op
        else {
            continue;
        };
        let factors = |at: usize| branches.as_ref().and_then(|branches| branches.factors[at]);
        let mut first = 0;
        for next in 1..=parts.len() {
            let is_same = next < parts.len()
                && factors(next).is_some() == factors(first).is_some()
                && parts[first].bias.is_some() == parts[next].bias.is_some();
            if is_same && joins(layouts, ids(&parts[first..next]), parts[next].weight) {
                continue;
            }
            let run = &parts[first..next];
            let mut stacked: Vec<WeightId> = ids(run).collect();
            let mut low = (first..next).filter_map(factors);
            if low.all(|low| {
                let fits = joins(layouts, stacked.iter().copied(), low.d);
                stacked.push(low.d);
                fits
            }) {
                stack_run(layouts, stacked.into_iter());
            } else {
                stack_run(layouts, ids(run));
            }
            if run[0].bias.is_some() {
                stack_run(layouts, run.iter().filter_map(|part| part.bias));
            }
            first = next;
        }
        let mut first = 0;
        for next in 1..=parts.len() {
            if next < parts.len() && is_alike(layouts, parts, factors, first, next) {
                continue;
            }
            let seconds = (first..next).filter_map(factors).map(|low| low.b);
            stack_run(layouts, seconds);
            first = next;
        }
    }
}

fn ids(parts: &[Projection]) -> impl Iterator<Item = WeightId> + Clone {
    parts.iter().map(|part| part.weight)
}

/// Whether the second factor of projection `next` can be one product with those from `first` on: all read as many
/// latents, and all but the first make as many outputs; there are at most three. So can the projections.
fn is_alike(
    layouts: &[WeightLayout],
    parts: &[Projection],
    factors: impl Fn(usize) -> Option<Factors>,
    first: usize,
    next: usize,
) -> bool {
    let layout = |id: WeightId| &layouts[id.0 as usize];
    let head = |at: usize| {
        let weight = parts[at].weight;
        layout(weight).stacked.map_or(weight, |place| place.on)
    };
    let run: Option<Vec<WeightId>> = (first..next)
        .map(|at| factors(at).map(|low| low.b))
        .collect();
    let (Some(run), Some(added)) = (run, factors(next).map(|low| low.b)) else {
        return false;
    };
    run.len() < 3
        && head(next) == head(first)
        && layout(run[0]).cols == layout(added).cols
        && run[1..]
            .iter()
            .all(|&b| layout(b).rows == layout(added).rows)
        && joins(layouts, run.into_iter(), added)
}

/// Whether a matrix can lie behind those of a run in one pair of arrays.
fn joins(
    layouts: &[WeightLayout],
    run: impl Iterator<Item = WeightId> + Clone,
    next: WeightId,
) -> bool {
    let layout = |id: WeightId| &layouts[id.0 as usize];
    let Some(head) = run.clone().next().map(layout) else {
        return false;
    };
    let added = layout(next);
    head.dtype == added.dtype
        && run.clone().map(|id| layout(id).n_bytes()).sum::<u64>() + added.n_bytes() <= MAX_BINDING
        && head.chunks.len() == 1
        && added.chunks.len() == 1
        // A matrix that two products share stays where it is.
        && run.clone().all(|id| id != next)
        && [head, added].iter().all(|layout| is_alone(layout))
}

fn is_alone(layout: &WeightLayout) -> bool {
    layout.stacked.is_none() && layout.extra == PackedRow::default()
}

fn stack_run(layouts: &mut [WeightLayout], mut run: impl Iterator<Item = WeightId>) {
    let Some(on) = run.next() else { return };
    let own = layouts[on.0 as usize].n_words();
    let mut before = own;
    for id in run {
        let layout = &mut layouts[id.0 as usize];
        layout.stacked = Some(Stacked { on, before });
        let words = layout.n_words();
        before.q_words += words.q_words;
        before.s_words += words.s_words;
    }
    layouts[on.0 as usize].extra = PackedRow {
        q_words: before.q_words - own.q_words,
        s_words: before.s_words - own.s_words,
    };
}
