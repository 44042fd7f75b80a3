//! Which operations run inside the product before or behind them.

use super::WeightLayout;
use crate::graph::{Graph, Op, ValueId, WeightId};

/// What is fused, by the index of nodes. Independent of the number of rows.
pub(super) struct Fusion {
    /// A product and the sum or activation that finishes it.
    finish: Vec<Option<usize>>,
    /// A norm or attention and the product that alone reads it.
    feeds: Vec<Option<usize>>,
    /// Products that make a gate and what it is multiplied with.
    gates: Vec<bool>,
    /// What only routers read.
    for_routers: Vec<bool>,
}

impl Fusion {
    pub(super) fn new(graph: &Graph, layouts: &[WeightLayout]) -> Self {
        let nodes = graph.nodes();
        let mut readers: Vec<Vec<usize>> = vec![vec![]; graph.values().len()];
        for (at, node) in nodes.iter().enumerate() {
            for input in node.op.inputs() {
                readers[input.0 as usize].push(at);
            }
        }
        let only_reader = |id: ValueId| match readers[id.0 as usize][..] {
            [reader] => Some(reader),
            _ => None,
        };
        let made_at = |id: ValueId| nodes.iter().position(|node| node.out == id);
        let mut fusion = Self {
            finish: vec![None; nodes.len()],
            feeds: vec![None; nodes.len()],
            gates: vec![false; nodes.len()],
            for_routers: vec![false; nodes.len()],
        };
        for (at, node) in nodes.iter().enumerate().rev() {
            let readers = &readers[node.out.0 as usize];
            let is_router = |&reader: &usize| {
                matches!(nodes[reader].op, Op::Route { .. }) || fusion.for_routers[reader]
            };
            fusion.for_routers[at] = !readers.is_empty() && readers.iter().all(is_router);
        }
        for (at, node) in nodes.iter().enumerate() {
            let Some(reader) = only_reader(node.out) else {
                continue;
            };
            match (&node.op, &nodes[reader].op) {
                (Op::RmsNorm { x, weight, .. }, Op::Linear { .. }) => {
                    let cols = graph.weights()[weight.0 as usize].cols;
                    let whole_row = graph.values()[x.0 as usize].cols == cols;
                    fusion.feeds[at] = whole_row.then_some(reader);
                }
                (Op::Attention { .. }, Op::Linear { .. }) => fusion.feeds[at] = Some(reader),
                (
                    Op::Linear {
                        parts, branches, ..
                    },
                    Op::GatedAct { .. },
                ) => {
                    fusion.gates[at] = true;
                    let layout = |id: WeightId| &layouts[id.0 as usize];
                    let is_on = |id: WeightId, on| layout(id).stacked.is_some_and(|s| s.on == on);
                    let stacked = parts.len() == 2
                        && is_on(parts[1].weight, parts[0].weight)
                        && layout(parts[0].weight).rows == layout(parts[1].weight).rows;
                    let factors = branches.as_ref().map(|branches| &branches.factors[..]);
                    let factors_stacked = match factors {
                        Some(&[Some(gate), Some(up)]) => is_on(up.b, gate.b),
                        Some(&[None, None]) | None => true,
                        Some(_) => false,
                    };
                    if stacked && factors_stacked && reader == at + 1 {
                        fusion.finish[at] = Some(reader);
                    }
                }
                (Op::Linear { parts, .. }, &Op::Add { a, b }) if parts.len() == 1 => {
                    let residual = if a == node.out { b } else { a };
                    let is_ready = made_at(residual).is_some_and(|made| made < at);
                    if is_ready && reader == at + 1 {
                        fusion.finish[at] = Some(reader);
                    }
                }
                _ => {}
            }
        }
        fusion
    }

    /// The sum or activation that the product `at` ends with.
    pub(super) fn finished_by(&self, at: usize) -> Option<usize> {
        self.finish[at]
    }

    /// Whether `at` runs inside the product before it.
    pub(super) fn is_inside(&self, at: usize) -> bool {
        self.finish.contains(&Some(at))
    }

    /// Whether the product `at` makes a gate, whether or not it is fused to what uses it.
    pub(super) fn is_gated(&self, at: usize) -> bool {
        self.gates[at]
    }

    /// Whether `at` makes what routers decide by and nothing else.
    pub(super) fn is_for_routers(&self, at: usize) -> bool {
        self.for_routers[at]
    }

    /// The product that is the only reader of `at`, and may then do its work.
    pub(super) fn feeds_product(&self, at: usize) -> Option<usize> {
        self.feeds[at]
    }

    /// The last node during which the inputs of `at` may be read or its output be written.
    pub(super) fn reads_until(&self, at: usize) -> usize {
        let product = self.feeds[at].unwrap_or(at);
        self.finish[product].unwrap_or(product)
    }
}
