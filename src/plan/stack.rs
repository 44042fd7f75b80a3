//! Projections of one input, side by side in one pair of arrays, so that one product makes them all.

use super::MAX_BINDING;
use super::memory::{Stacked, WeightLayout};
use crate::graph::{Graph, Op, Projection, WeightId};
use crate::tensor::quant::PackedRow;

/// Stacks the projections of each [`Op::Linear`] that have one format, and their biases.
pub fn stack(graph: &Graph, layouts: &mut [WeightLayout]) {
    for node in graph.nodes() {
        let Op::Linear { parts, .. } = &node.op else {
            continue;
        };
        let mut first = 0;
        for next in 1..=parts.len() {
            if next < parts.len() && joins(layouts, &parts[first..next], &parts[next]) {
                continue;
            }
            let run = &parts[first..next];
            stack_run(layouts, run.iter().map(|part| part.weight));
            if run[0].bias.is_some() {
                stack_run(layouts, run.iter().filter_map(|part| part.bias));
            }
            first = next;
        }
    }
}

fn joins(layouts: &[WeightLayout], run: &[Projection], next: &Projection) -> bool {
    let layout = |id: WeightId| &layouts[id.0 as usize];
    let n_bytes = |part: &Projection| layout(part.weight).n_bytes();
    let (head, added) = (layout(run[0].weight), layout(next.weight));
    head.dtype == added.dtype
        && run.iter().map(n_bytes).sum::<u64>() + n_bytes(next) <= MAX_BINDING
        && added.chunks.len() == 1
        && run[0].bias.is_some() == next.bias.is_some()
        // A matrix that two products share stays where it is.
        && run.iter().all(|part| part.weight != next.weight)
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
