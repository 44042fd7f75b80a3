//! How a graph is computed: kernel calls with their buffers, in order, as plain data.
//!
//! A plan is made once per [`Size`] and run many times. It names buffers but holds none: the GPU
//! executor binds them, the reference indexes them, a test or `-v` prints them.

mod arenas;
mod fuse;
mod lower;
mod lower_cache;
mod lower_integers;
mod lower_linear;
mod memory;
mod stack;

pub use arenas::{ARENA_ROWS, Arenas, Held, spans};
pub use lower::lower;
pub use memory::{
    CacheRows, Footprint, Slot, Stacked, WeightLayout, arena_scratch, cache_buffers, cache_rows,
    session_buffers,
};
pub use stack::stack;

use std::fmt;

use crate::graph::{FlatId, RopeId, WeightId};
use crate::kernels::linear::Activations;
use crate::kernels::{CacheType, Call};

/// Largest storage buffer that is ever bound: WebGPU's default limit.
pub const MAX_BINDING: u64 = 128 << 20;

/// How many rows a step has. Plans are made for buckets of rows, so that a few serve all steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows computed.
    pub rows: u32,
    /// Rows whose logits are computed; 0 leaves out the output head.
    pub n_out: u32,
    /// Whether a token is drawn from each row of logits.
    pub sample: bool,
    /// Whether the host knows that every row takes the full branches of every layer. Then neither routers nor
    /// low-rank factors are computed; which branches were taken is noted all the same.
    pub all_full: bool,
}

/// What a session fixes for all its plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Positions of the cache for each sequence.
    pub n_ctx: u32,
    /// Sequences that the cache has room for.
    pub n_sequences: u32,
    /// Element type of the cache.
    pub cache: CacheType,
    /// How products of many rows hold their input.
    pub activations: Activations,
    /// Most parts that the keys of a row are split into where a step has few rows, so that they
    /// keep a large device busy.
    pub n_splits: u32,
    /// The arenas of each layer that keeps tokens as their path made them; of others `None`, or nothing.
    pub arenas: Vec<Option<Arenas>>,
}

/// One of the two arrays of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The quantised (or plain) values, `w_q`.
    Values,
    /// The scales, `w_s`.
    Scales,
}

/// A buffer that a call reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// Rows of a parameter; `chunk` counts the pieces of one too large for a binding.
    Weight {
        /// Which parameter.
        id: WeightId,
        /// Which piece.
        chunk: u32,
        /// Which array.
        part: Part,
    },
    /// (cos, sin) of each position and frequency.
    RopeTable(RopeId),
    /// Four zeros, bound where a bias, a rotary table or a norm is left out.
    Zero,
    /// [`crate::kernels::Row`]s of the step.
    Rows,
    /// Indices of the rows whose logits are computed.
    OutRows,
    /// Token ids: `[n_sequences, n_ctx]`.
    Tokens,
    /// [`crate::kernels::sample::Sampler`] of each sequence.
    Samplers,
    /// An activation; see [`Slot`].
    Slot(u32),
    /// What rows on the low-rank branch make of a product's first factors.
    Latents,
    /// How branches are decided: [`crate::kernels::route::Settings`], and a word for each layer.
    Routing,
    /// The branches of each position in a routed layer, `[n_sequences, n_ctx]`; see `shaders/lib/place.wgsl`.
    Paths(u32),
    /// A product's input in signed bytes; see [`crate::kernels::quantize_rows`] and [`crate::kernels::flatten_rows`].
    Int8,
    /// How an input becomes integers; see [`crate::graph::Flat::table`].
    FlatTable(FlatId),
    /// Keys of a layer: `[n_sequences, n_kv_heads, n_ctx, head_dim]`, or those of its arenas, see [`cache_rows`].
    Keys(u32),
    /// Values of a layer: `[n_sequences, n_kv_heads, n_ctx, head_dim]`, or those of the dense arena.
    Values(u32),
    /// Rows of a layer's latent arena: `[n_sequences, capacity, latent_cols]`.
    LatentRows(u32),
    /// Keys made anew from latents, of one layer at a time.
    LatentKeys,
    /// What the attention over latent rows sums up of them.
    LatentSums,
    /// Records of an attention over two arenas.
    Records,
    /// `[n_out, vocab_size]`.
    Logits,
    /// Penalised and scaled logits while a token is drawn.
    Scores,
    /// The tokens drawn: `[n_out]`.
    Sampled,
}

/// A buffer that is replaced by a larger one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which.
    pub buffer: Buffer,
    /// Its new size in bytes.
    pub n_bytes: u64,
    /// What it keeps: from byte, to byte, bytes.
    pub parts: Vec<(u64, u64, u64)>,
}

/// A kernel call with its buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The kernel and its parameters.
    pub call: Call,
    /// (binding, buffer) in ascending order; binding 0 is the parameters. The last ones are written.
    pub bindings: Vec<(u32, Buffer)>,
    /// The part of the model that it belongs to.
    pub label: String,
}

/// Everything that a step of one size runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The size that it was made for.
    pub size: Size,
    /// The calls in order.
    pub dispatches: Vec<Dispatch>,
    /// The activations; the same for every size of a model.
    pub slots: Vec<Slot>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { rows, n_out, .. } = self.size;
        let n = self.dispatches.len();
        writeln!(f, "plan for {rows} rows, {n_out} logits: {n} dispatches")?;
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            write!(f, "{i:4} {:28} {:?} <-", dispatch.label, dispatch.call)?;
            for (binding, buffer) in &dispatch.bindings {
                write!(f, " {binding}:{buffer:?}")?;
            }
            writeln!(f)?;
        }
        for (i, slot) in self.slots.iter().enumerate() {
            writeln!(f, "slot {i}: {:?} x {} f32", slot.rows, slot.cols)?;
        }
        Ok(())
    }
}
