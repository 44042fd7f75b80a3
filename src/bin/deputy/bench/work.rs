//! What a step has to read and to compute, from its plan.

use std::collections::HashSet;

use deputy::Engine;
use deputy::graph::Op;
use deputy::kernels::{CacheType, Call};
use deputy::plan::{Buffer, Dispatch, Part, Plan, Size, lower};

/// Bytes and operations that no way to compute a step can do without.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Of the weights and of the cache.
    pub(super) n_bytes: u64,
    /// Two for each product of a weight, or of a cached element, with an activation.
    pub(super) flops: u64,
}

/// `n_rows` tokens of one sequence behind `depth` others.
pub(super) struct Step {
    pub(super) engine: Engine,
    pub(super) cache: CacheType,
    pub(super) n_rows: u32,
    pub(super) depth: u32,
    /// Whether every row takes the full branches.
    pub(super) all_full: bool,
}

impl Step {
    /// One plan for all rows, however many, that computes the last one's logits.
    pub(super) fn plan(&self) -> Plan {
        let settings = self.engine.settings(1);
        let size = Size {
            rows: self.n_rows,
            n_out: 1,
            sample: true,
            all_full: self.all_full,
        };
        let engine = &self.engine;
        lower(&engine.model().graph, engine.layouts(), &settings, size)
    }

    /// What some of the step's dispatches do, each buffer that they share counted once.
    pub(super) fn work(&self, dispatches: &[&Dispatch]) -> Work {
        let mut seen = HashSet::new();
        let mut sum = Work::default();
        for dispatch in dispatches {
            // Of an embedding a row a token is read, which is next to nothing.
            if matches!(dispatch.call, Call::Embed(..)) {
                continue;
            }
            let n_read = dispatch.bindings.len() - dispatch.call.n_written();
            let (read, written) = dispatch.bindings.split_at(n_read);
            let makes_logits = written.iter().any(|(_, buffer)| *buffer == Buffer::Logits);
            let n_rows = if makes_logits { 1 } else { self.n_rows };
            for &(_, buffer) in read.iter().filter(|(_, buffer)| seen.insert(*buffer)) {
                let work = self.of_buffer(buffer, n_rows);
                sum.n_bytes += work.n_bytes;
                sum.flops += work.flops;
            }
        }
        sum
    }

    fn of_buffer(&self, buffer: Buffer, n_rows: u32) -> Work {
        match buffer {
            Buffer::Weight { id, chunk, part } => {
                let at = id.0 as usize;
                let layout = &self.engine.layouts()[at];
                let (words, row) = (layout.piece_words(chunk as usize), layout.packed_row());
                let is_vector = self.engine.model().graph.weights()[at].is_vector;
                let (n_words, products) = match part {
                    Part::Values if is_vector => (words.q_words, 0),
                    // Others that are stacked on it are multiplied in the same call.
                    Part::Values => (
                        words.q_words,
                        words.q_words / row.q_words * layout.cols as usize,
                    ),
                    Part::Scales => (words.s_words, 0),
                };
                Work {
                    n_bytes: 4 * n_words as u64,
                    flops: 2 * u64::from(n_rows) * products as u64,
                }
            }
            Buffer::Keys(layer) | Buffer::Values(layer) => self.of_cache(layer),
            _ => Work::default(),
        }
    }

    /// Attention over a layer's keys, or over its values.
    fn of_cache(&self, layer: u32) -> Work {
        let graph = &self.engine.model().graph;
        let of_layer = graph.nodes().iter().find_map(|node| match node.op {
            Op::Attention {
                layer: l,
                q,
                window,
                ..
            } if l == layer => {
                let q_dim = graph.values()[q.0 as usize].cols;
                Some((u64::from(q_dim), u64::from(window.unwrap_or(u32::MAX))))
            }
            _ => None,
        });
        let Some((q_dim, window)) = of_layer else {
            return Work::default();
        };
        let (depth, n_rows) = (u64::from(self.depth), u64::from(self.n_rows));
        let n_positions = (depth + n_rows).min(window.saturating_add(n_rows - 1));
        let n_pairs: u64 = (1..=n_rows).map(|row| (depth + row).min(window)).sum();
        let kv_dim = u64::from(graph.kv_heads()[layer as usize].cols());
        Work {
            n_bytes: n_positions * self.cache.row_bytes(kv_dim),
            flops: 2 * n_pairs * q_dim,
        }
    }
}
