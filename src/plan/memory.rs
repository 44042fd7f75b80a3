//! Where things lie: pieces of large weights, reuse of activations, bytes in all.

use std::ops::Range;

use super::fuse::Fusion;
use super::{Buffer, MAX_BINDING, Settings, Size};
use crate::graph::{FlatId, Graph, KvHeads, Op, RopeId, Rows, WeightId};
use crate::kernels::Row;
use crate::kernels::attention::record_len;
use crate::kernels::flatten_rows::row_words;
use crate::kernels::linear::{Activations, MATMUL_ROWS};
use crate::kernels::quantize_rows::BLOCK_WORDS;
use crate::kernels::route::SETTINGS_WORDS;
use crate::kernels::sample::Sampler;
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
    /// Where it lies if not in arrays of its own.
    pub stacked: Option<Stacked>,
    /// Words of other parameters behind its own.
    pub extra: PackedRow,
}

/// A place in the arrays of another parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacked {
    /// Whose arrays.
    pub on: WeightId,
    /// Words before it in each array.
    pub before: PackedRow,
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
            stacked: None,
            extra: PackedRow::default(),
        }
    }

    /// Words of its own in each array, without the padding of a vector.
    pub fn n_words(&self) -> PackedRow {
        let row = self.packed_row();
        if self.rows == 1 && self.dtype == DType::F32 {
            return PackedRow {
                q_words: self.cols as usize,
                s_words: 0,
            };
        }
        PackedRow {
            q_words: row.q_words * self.rows as usize,
            s_words: row.s_words * self.rows as usize,
        }
    }

    /// Words to allocate for a piece of it; none where it lies in another's arrays.
    pub fn piece_words(&self, chunk: usize) -> PackedRow {
        if self.stacked.is_some() {
            return PackedRow::default();
        }
        let row = self.packed_row();
        let rows = &self.chunks[chunk];
        let n = (rows.end - rows.start) as usize;
        PackedRow {
            q_words: n * row.q_words + self.extra.q_words,
            s_words: n * row.s_words + self.extra.s_words,
        }
    }

    /// Where `rows` are written: (whose arrays, piece, words before them in it, rows) for each piece.
    pub fn places(
        &self,
        id: WeightId,
        rows: Range<u32>,
    ) -> impl Iterator<Item = (WeightId, u32, PackedRow, Range<u32>)> {
        let row = self.packed_row();
        let (on, before) = match self.stacked {
            Some(Stacked { on, before }) => (on, before),
            None => (id, PackedRow::default()),
        };
        self.pieces(rows).map(move |(chunk, rows, at)| {
            let at = PackedRow {
                q_words: before.q_words + at as usize * row.q_words,
                s_words: before.s_words + at as usize * row.s_words,
            };
            (on, chunk, at, rows)
        })
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
    /// Its columns in a step of few rows, where an attention's splits lie apart.
    pub few_cols: u32,
}

impl Slot {
    /// Bytes for a step of this size, one quad more than it needs so that none is empty.
    pub fn n_bytes(&self, size: Size) -> u64 {
        let rows = match self.rows {
            Rows::Step => size.rows,
            Rows::Out => size.n_out,
        };
        let few_rows = rows.min(MATMUL_ROWS - 1);
        let n = u64::from(rows) * u64::from(self.cols);
        4 * n.max(u64::from(few_rows) * u64::from(self.few_cols)) + 16
    }
}

/// Rows of a step that are drawn from at most, but for one of each sequence.
const MAX_DRAWS: u64 = 8;

/// Every buffer of a session whose steps are at most of this size, but for the parameters, with its bytes.
pub fn session_buffers(
    graph: &Graph,
    settings: &Settings,
    slots: &[Slot],
    size: Size,
) -> Vec<(Buffer, u64)> {
    let vocab = graph
        .result()
        .map_or(0, |id| graph.values()[id.0 as usize].cols);
    let [rows, n_out, vocab] = [size.rows, size.n_out, vocab].map(u64::from);
    let sequences = u64::from(settings.n_sequences);
    let positions = u64::from(settings.n_ctx) * sequences;
    let mut buffers = vec![
        (Buffer::Zero, 16),
        (Buffer::Rows, size_of::<Row>() as u64 * rows),
        (Buffer::OutRows, n_out * 4),
        (Buffer::Tokens, positions * 4),
        (Buffer::Samplers, sequences * size_of::<Sampler>() as u64),
        (Buffer::Logits, n_out * vocab * 4),
        // The last row of each sequence is drawn from, or a few of one.
        (
            Buffer::Scores,
            sequences.max(MAX_DRAWS).min(n_out) * vocab * 4,
        ),
        (Buffer::Sampled, n_out * 4),
    ];
    let words_of_bytes = graph.nodes().iter().filter_map(|node| match node.op {
        Op::Linear { x, flat, .. } => match settings.activations {
            Activations::F32 => None,
            Activations::Int8 => Some(graph.values()[x.0 as usize].cols.div_ceil(32) * BLOCK_WORDS),
            Activations::Auto => flat.map(|flat| {
                let flat = &graph.flats()[flat.0 as usize];
                row_words(flat.blocks(), flat.extra_blocks())
            }),
        },
        _ => None,
    });
    if let Some(words) = words_of_bytes.max() {
        buffers.push((Buffer::Int8, 4 * rows * u64::from(words)));
    }
    for (i, flat) in graph.flats().iter().enumerate() {
        let n_bytes = 128 * u64::from(flat.blocks() + flat.extra_blocks());
        buffers.push((Buffer::FlatTable(FlatId(i as u32)), n_bytes));
    }
    for (slot, shape) in slots.iter().enumerate() {
        buffers.push((Buffer::Slot(slot as u32), shape.n_bytes(size)));
    }
    for (layer, &heads) in graph.kv_heads().iter().enumerate() {
        buffers.extend(cache_buffers(settings, layer as u32, heads));
    }
    buffers.extend(arena_scratch(graph, settings, size));
    for (i, rope) in graph.ropes().iter().enumerate() {
        let n_bytes = u64::from(settings.n_ctx) * rope.inv_freq.len() as u64 * 8;
        buffers.push((Buffer::RopeTable(RopeId(i as u32)), n_bytes));
    }
    let mut low_cols = 0;
    for node in graph.nodes() {
        match &node.op {
            Op::Route { layer, .. } => buffers.push((Buffer::Paths(*layer), positions * 4)),
            Op::Linear {
                branches: Some(branches),
                ..
            } => {
                let ranks = branches.factors.iter().flatten();
                let ranks = ranks.map(|factors| graph.weights()[factors.d.0 as usize].rows);
                low_cols = ranks.sum::<u32>().max(low_cols);
            }
            _ => {}
        }
    }
    if graph.is_routed() {
        let words = SETTINGS_WORDS + graph.kv_heads().len() as u32;
        buffers.push((Buffer::Routing, 4 * u64::from(words)));
        buffers.push((Buffer::Latents, 4 * rows * u64::from(low_cols)));
    }
    buffers
}

/// Rows of one kind in a buffer of a layer's cache: `[n_sequences, n_heads, most]` behind `before` others.
///
/// A head's rows lie one behind the other, since attention reads them so, one head after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRows {
    /// Which buffer.
    pub buffer: Buffer,
    /// Whether they are those of latent rows.
    pub is_latent: bool,
    /// Rows before the first sequence's.
    pub before: u64,
    /// Rows that each sequence has room for.
    pub most: u64,
    /// Heads of a row; one of latents.
    pub n_heads: u64,
    /// Bytes of a head of a row.
    pub head_bytes: u64,
}

impl CacheRows {
    /// Bytes of a row, all heads of it.
    pub fn row_bytes(&self) -> u64 {
        self.n_heads * self.head_bytes
    }

    /// The first bytes of a sequence's rows, head by head.
    pub fn firsts(self, sequence: u32) -> impl Iterator<Item = u64> {
        let first = (self.before + u64::from(sequence) * self.most) * self.row_bytes();
        (0..self.n_heads).map(move |head| first + head * self.most * self.head_bytes)
    }
}

/// What keeps the tokens of a layer with such keys and values.
pub fn cache_rows(settings: &Settings, layer: u32, heads: KvHeads) -> Vec<CacheRows> {
    let rows = |buffer, most: u32| CacheRows {
        buffer,
        is_latent: false,
        before: 0,
        most: most.into(),
        n_heads: heads.n.into(),
        head_bytes: settings.cache.row_bytes(heads.dim.into()),
    };
    let (keys, values) = (Buffer::Keys(layer), Buffer::Values(layer));
    let Some(arenas) = settings.arenas_of(layer) else {
        return [keys, values]
            .map(|buffer| rows(buffer, settings.n_ctx))
            .to_vec();
    };
    let mut found = [keys, values]
        .map(|buffer| rows(buffer, arenas.dense))
        .to_vec();
    if arenas.k_cols == 0 {
        found.push(CacheRows {
            is_latent: true,
            before: u64::from(settings.n_sequences) * u64::from(arenas.dense),
            ..rows(keys, arenas.latent)
        });
    }
    found.push(CacheRows {
        is_latent: true,
        n_heads: 1,
        head_bytes: arenas.latents.row_bytes(arenas.latent_cols().into()),
        ..rows(Buffer::LatentRows(layer), arenas.latent)
    });
    found
}

/// The buffers of [`cache_rows`] with their bytes.
pub fn cache_buffers(settings: &Settings, layer: u32, heads: KvHeads) -> Vec<(Buffer, u64)> {
    let mut buffers: Vec<(Buffer, u64)> = vec![];
    for rows in cache_rows(settings, layer, heads) {
        let n_bytes = u64::from(settings.n_sequences) * rows.most * rows.row_bytes();
        match buffers
            .iter_mut()
            .find(|(buffer, _)| *buffer == rows.buffer)
        {
            Some((_, all)) => *all += n_bytes,
            None => buffers.push((rows.buffer, n_bytes)),
        }
    }
    buffers
}

/// What layers with arenas compute with, one after the other.
pub fn arena_scratch(graph: &Graph, settings: &Settings, size: Size) -> Vec<(Buffer, u64)> {
    let (mut keys, mut sums, mut records) = (0, 0, 0);
    // Few rows have splits, many have one.
    let few = size.rows.min(MATMUL_ROWS.next_power_of_two());
    let n_splits = |splits: u32| u64::from(size.rows).max(u64::from(few) * u64::from(splits));
    for node in graph.nodes() {
        let Op::Attention {
            layer, q, head_dim, ..
        } = node.op
        else {
            continue;
        };
        let Some(arenas) = settings.arenas_of(layer) else {
            continue;
        };
        let n_heads = u64::from(graph.values()[q.0 as usize].cols / head_dim);
        let len = |elements: u32| 4 * n_heads * u64::from(record_len(elements));
        if arenas.k_cols > 0 {
            let row = settings
                .cache
                .row_bytes(graph.kv_heads()[layer as usize].cols().into());
            let rows = u64::from(settings.n_sequences) * u64::from(arenas.latent);
            keys = rows.saturating_mul(row).max(keys);
        }
        sums = (n_splits(settings.n_splits) * len(arenas.v_cols)).max(sums);
        let n_records =
            (u64::from(few) * u64::from(settings.n_splits + 1)).max(2 * u64::from(size.rows));
        records = (n_records * len(head_dim)).max(records);
    }
    let buffers = [
        (Buffer::LatentKeys, keys),
        (Buffer::LatentSums, sums),
        (Buffer::Records, records),
    ];
    buffers
        .into_iter()
        .filter(|(_, n_bytes)| *n_bytes > 0)
        .collect()
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
        let mut footprint = Self {
            weights: layouts.iter().map(WeightLayout::n_bytes).sum(),
            ..Self::default()
        };
        for (buffer, n_bytes) in session_buffers(graph, settings, slots, size) {
            match buffer {
                Buffer::Keys(_)
                | Buffer::Values(_)
                | Buffer::LatentRows(_)
                | Buffer::LatentKeys => footprint.cache += n_bytes,
                _ => footprint.activations += n_bytes,
            }
        }
        footprint
    }

    /// Everything.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

/// Assigns a slot to each value; a slot is free again after the last reader of its value.
/// Independent of the number of rows, so that all sizes of a model share their slots.
pub(super) fn assign_slots(
    graph: &Graph,
    fusion: &Fusion,
    settings: &Settings,
) -> (Vec<Option<u32>>, Vec<Slot>) {
    let mut last_use = vec![0; graph.values().len()];
    for (at, node) in graph.nodes().iter().enumerate() {
        for input in node.op.inputs() {
            let last = &mut last_use[input.0 as usize];
            *last = fusion.reads_until(at).max(*last);
        }
    }
    let mut slot_of: Vec<Option<u32>> = vec![None; graph.values().len()];
    let mut slots: Vec<Slot> = vec![];
    let mut busy: Vec<(usize, u32)> = vec![];
    for (at, node) in graph.nodes().iter().enumerate() {
        if Some(node.out) == graph.result() || fusion.finished_by(at).is_some() {
            continue;
        }
        busy.retain(|&(until, _)| until >= at);
        let value = graph.values()[node.out.0 as usize];
        let fits = |slot: &usize| {
            slots[*slot].rows == value.rows
                && slots[*slot].cols >= value.cols
                && busy.iter().all(|&(_, busy)| busy as usize != *slot)
        };
        let found = (0..slots.len())
            .filter(fits)
            .min_by_key(|&slot| slots[slot].cols);
        let slot = found.unwrap_or_else(|| {
            slots.push(Slot {
                rows: value.rows,
                cols: value.cols,
                few_cols: 0,
            });
            slots.len() - 1
        }) as u32;
        if let Op::Attention { head_dim, .. } = node.op {
            let records = settings.n_splits * (value.cols / head_dim) * (head_dim + 4);
            let few_cols = &mut slots[slot as usize].few_cols;
            *few_cols = records.max(*few_cols);
        }
        slot_of[node.out.0 as usize] = Some(slot);
        busy.push((last_use[node.out.0 as usize], slot));
    }
    (slot_of, slots)
}
