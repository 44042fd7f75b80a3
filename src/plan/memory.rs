//! Where things lie: pieces of large weights, reuse of activations, bytes in all.

use std::ops::Range;

use super::{MAX_BINDING, Settings, Size};
use crate::graph::{Graph, Op, Rows, ValueId};
use crate::tensor::DType;
use crate::tensor::quant::{PackedRow, packed_row, padded_cols};

/// How a parameter lies on the device: its format, and the pieces that it is split into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightLayout {
    /// Format of its rows.
    pub dtype: DType,
    /// Rows in all.
    pub rows: u32,
    /// Elements of a row.
    pub cols: u32,
    /// Rows of each piece; one piece unless a binding would exceed [`MAX_BINDING`].
    pub chunks: Vec<Range<u32>>,
}

impl WeightLayout {
    /// Splits `rows` so that no piece's arrays exceed `max_binding` bytes.
    pub fn new(dtype: DType, rows: u32, cols: u32, max_binding: u64) -> Self {
        let row = packed_row(dtype, cols as usize);
        let row_bytes = 4 * row.q_words.max(row.s_words) as u64;
        let most = (max_binding.min(MAX_BINDING) / row_bytes.max(1)).clamp(1, rows.max(1).into());
        let n_chunks = rows.div_ceil(most as u32).max(1);
        // Even pieces: the same kernel variant suits them all.
        let each = rows.div_ceil(n_chunks);
        let chunks = (0..n_chunks)
            .map(|i| i * each..(i * each + each).min(rows))
            .collect();
        Self {
            dtype,
            rows,
            cols,
            chunks,
        }
    }

    /// What of `rows` lies in each piece: (piece, rows, where in the piece they begin).
    pub fn pieces(&self, rows: Range<u32>) -> impl Iterator<Item = (u32, Range<u32>, u32)> {
        (0..).zip(&self.chunks).filter_map(move |(chunk, held)| {
            let here = rows.start.max(held.start)..rows.end.min(held.end);
            let at = here.start.saturating_sub(held.start);
            (!here.is_empty()).then_some((chunk, here, at))
        })
    }

    /// Words that a row takes in each array.
    pub fn packed_row(&self) -> PackedRow {
        packed_row(self.dtype, self.cols as usize)
    }

    /// Blocks of 32 columns in a packed row.
    pub fn blocks(&self) -> u32 {
        padded_cols(self.dtype, self.cols as usize) as u32 / 32
    }

    /// Bytes on the device.
    pub fn n_bytes(&self) -> u64 {
        let row = self.packed_row();
        4 * u64::from(self.rows) * (row.q_words + row.s_words) as u64
    }
}

/// A buffer that activations share, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which rows it has.
    pub rows: Rows,
    /// Its columns, in f32.
    pub cols: u32,
}

impl Slot {
    /// Bytes for a step of this size, one quad more than it needs so that none is empty.
    pub fn n_bytes(&self, size: Size) -> u64 {
        let rows = match self.rows {
            Rows::Step => size.rows,
            Rows::Out => size.n_out,
        };
        u64::from(rows) * u64::from(self.cols) * 4 + 16
    }
}

/// Device memory of a model and one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the packed weights.
    pub weights: u64,
    /// Bytes of the key/value cache.
    pub cache: u64,
    /// Bytes of activations, logits and small tables.
    pub activations: u64,
}

impl Footprint {
    /// Computes it for a session whose largest step has `size`.
    pub fn new(
        graph: &Graph,
        layouts: &[WeightLayout],
        slots: &[Slot],
        settings: &Settings,
        size: Size,
    ) -> Self {
        let positions = u64::from(settings.n_ctx) * u64::from(settings.n_sequences);
        let dims: u64 = graph.cache_dims().iter().map(|&d| u64::from(d)).sum();
        let vocab = graph
            .result()
            .map_or(0, |id| graph.values()[id.0 as usize].cols);
        let logits = u64::from(vocab) * 4 * u64::from(size.n_out + settings.n_sequences);
        let tables: u64 = graph
            .ropes()
            .iter()
            .map(|rope| 8 * u64::from(settings.n_ctx) * rope.inv_freq.len() as u64)
            .sum();
        Self {
            weights: layouts.iter().map(WeightLayout::n_bytes).sum(),
            cache: 2 * positions * dims * settings.cache.n_bytes() as u64,
            activations: slots.iter().map(|slot| slot.n_bytes(size)).sum::<u64>()
                + logits
                + tables
                + positions * 4,
        }
    }

    /// Everything.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

/// Assigns a slot to each value; a slot is free again after the last reader of its value.
/// Independent of the number of rows, so that all sizes of a model share their slots.
pub(super) fn assign_slots(graph: &Graph) -> (Vec<Option<u32>>, Vec<Slot>) {
    let mut last_use = vec![0; graph.values().len()];
    for (at, node) in graph.nodes().iter().enumerate() {
        for input in node.op.inputs() {
            last_use[input.0 as usize] = at;
        }
    }
    let mut slot_of: Vec<Option<u32>> = vec![None; graph.values().len()];
    let mut slots: Vec<Slot> = vec![];
    let mut free: Vec<u32> = vec![];
    for (at, node) in graph.nodes().iter().enumerate() {
        if let Some(out) = node.out.filter(|&out| Some(out) != graph.result()) {
            let value = graph.values()[out.0 as usize];
            let fit = |slot: &u32| {
                let Slot { rows, cols } = slots[*slot as usize];
                (rows == value.rows && cols >= value.cols).then_some(cols)
            };
            let found = free
                .iter()
                .enumerate()
                .filter_map(|(i, slot)| fit(slot).map(|cols| (cols, i)))
                .min();
            let slot = match found {
                Some((_, i)) => free.swap_remove(i),
                None => {
                    slots.push(Slot {
                        rows: value.rows,
                        cols: value.cols,
                    });
                    slots.len() as u32 - 1
                }
            };
            slot_of[out.0 as usize] = Some(slot);
        }
        release(&node.op, at, &last_use, &slot_of, &mut free);
    }
    (slot_of, slots)
}

fn release(op: &Op, at: usize, last_use: &[usize], slot_of: &[Option<u32>], free: &mut Vec<u32>) {
    let mut inputs: Vec<ValueId> = op.inputs();
    inputs.sort_unstable();
    inputs.dedup();
    for input in inputs {
        if last_use[input.0 as usize] == at {
            free.extend(slot_of[input.0 as usize]);
        }
    }
}
