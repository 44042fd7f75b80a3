//! Sequences of tokens over a loaded model: prefill, decode, cancel, reuse.

mod ahead;
mod arenas;
mod batch;
mod generate;
mod profile;
mod routes;
mod score;
mod snapshot;
mod speculate;
mod step;
mod trace;

pub use arenas::CacheUse;
pub use generate::{BeforeStep, GenerateOptions, Generation, Piece, StopReason};
pub use profile::Profile;
pub use routes::{Branch, LayerBranches, LayerCosts, Routes, TakenRoutes, layer_costs};
pub use score::{SCORE_WINDOW, Score};
pub use trace::{Tap, TapKind};

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::{Engine, Loaded, MAX_ROWS, State, most_rows};
use crate::error::Error;
use crate::gpu::MAX_IN_FLIGHT;
use crate::kernels::Row;
use crate::kernels::sample::Sampler;
use crate::plan::{Held, MAX_BINDING, Plan, Settings, Size, lower};
use crate::sampler::SamplerParams;

/// What a session is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionOptions {
    /// Sequences that it holds at a time, each with a cache of the engine's context.
    pub n_sequences: u32,
    /// Whether the logits of whole prompts are asked for, which takes a larger buffer.
    pub all_logits: bool,
    /// Rows of the largest step, at most [`MAX_ROWS`]; longer prompts go through in pieces.
    pub max_rows: u32,
    /// Steps of an answer that are on the device at a time, 1 to
    /// [`MAX_IN_FLIGHT`](crate::gpu::MAX_IN_FLIGHT): tokens are computed while the ids before them
    /// come back; 1 waits for each. No answer depends on it; a stop leaves so many steps less one
    /// computed in vain. [`RUN_AHEAD`] where `None`, and 1 on software adapters, where nothing is
    /// gained: the steps and the host share the processor. The CPU takes one at a time.
    pub run_ahead: Option<u32>,
    /// Tokens of an answer that the model drafts at [`draft_effort`](Self::draft_effort), before the session's own
    /// routes verify them in one step; at most [`MAX_DRAFTS`], 0 for none, as for a model without low-rank branches.
    /// No answer depends on it.
    pub speculate: u32,
    /// How much the router lets drafts compute, 0 to 1. No answer depends on it either.
    pub draft_effort: f32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            n_sequences: 1,
            all_logits: false,
            max_rows: MAX_ROWS,
            run_ahead: None,
            speculate: 0,
            draft_effort: 0.0,
        }
    }
}

/// Steps in flight unless a session asks for another number: natively two would do, but a browser
/// takes some milliseconds to hand out an id.
pub const RUN_AHEAD: u32 = 4;

/// Most tokens that are drafted at a time.
pub const MAX_DRAFTS: u32 = MAX_IN_FLIGHT - 1;

/// Sequences with their caches. A step's rows may belong to any of them.
pub struct Session {
    engine: Engine,
    loaded: Arc<Loaded>,
    state: State,
    settings: Settings,
    max: Size,
    run_ahead: Option<u32>,
    n_drafts: u32,
    plans: HashMap<Size, Arc<Plan>>,
    sequences: Vec<Sequence>,
    /// What the arenas hold of each sequence at most.
    held: Vec<Held>,
    samplers: Vec<Sampler>,
    /// How branches are decided, as the device reads it; empty for a model without routers.
    routing: Vec<u32>,
    /// As `routing`, for drafts.
    draft_routing: Vec<u32>,
    /// Whether what the device has of the two leaves every row on the full branches.
    all_full: bool,
}

#[derive(Clone, Debug, Default)]
struct Sequence {
    /// Every token that is known, those of the answer included.
    tokens: Vec<u32>,
    /// How many of them the cache holds.
    n_cached: usize,
}

/// Which logits a step computes.
#[derive(Clone, Copy)]
enum Out<'a> {
    None,
    /// Of these rows, by their index in the step.
    Rows(&'a [u32]),
}

impl Engine {
    /// Starts a session.
    ///
    /// # Errors
    /// Where its buffers cannot be allocated, or the effort of drafts is none.
    pub async fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        let options = SessionOptions {
            n_sequences: options.n_sequences.max(1),
            max_rows: options.max_rows.clamp(1, MAX_ROWS),
            speculate: match self.model().graph.is_routed() {
                true => options.speculate.min(MAX_DRAFTS),
                false => 0,
            },
            ..options
        };
        let vocab_size = self.config().vocab_size;
        // Whole prompts in pieces whose logits can be bound.
        let rows_of_logits = (MAX_BINDING / (4 * u64::from(vocab_size))).max(1) as u32;
        let max_rows = if options.all_logits {
            options.max_rows.min(rows_of_logits)
        } else {
            options.max_rows
        };
        // Steps are made for powers of two.
        let max_rows = 1
            << max_rows
                .max(
                    options
                        .n_sequences
                        .max(1 + options.speculate)
                        .min(rows_of_logits),
                )
                .ilog2();
        let max = Size {
            rows: max_rows,
            n_out: if options.all_logits {
                max_rows
            } else {
                options.n_sequences.max(1 + options.speculate).min(max_rows)
            },
            sample: true,
            all_full: false,
        };
        let settings = self.settings(options.n_sequences);
        let widths = self.model().graph.kv_heads().iter();
        let layer = widths.map(|heads| heads.cols()).max().unwrap_or(0);
        let mode = self.options().cache_mode.unwrap_or_default();
        let positions = most_rows(settings.n_ctx, mode) * u64::from(settings.n_sequences);
        let n_bytes = positions * settings.cache.row_bytes(u64::from(layer));
        if n_bytes > MAX_BINDING {
            return Err(Error::Binding {
                model: self.name().to_owned(),
                what: "the cache of a layer",
                n_bytes,
                limit: MAX_BINDING,
                remedy: "--ctx or number of sequences",
            });
        }
        let loaded = self.loaded();
        let mut session = Session {
            state: new_state(self, &loaded, &settings, max).await?,
            engine: self.clone(),
            loaded,
            max,
            run_ahead: options.run_ahead.map(|n| n.clamp(1, MAX_IN_FLIGHT)),
            n_drafts: options.speculate.min(max.n_out - 1),
            plans: HashMap::new(),
            held: vec![Held::default(); settings.n_sequences as usize],
            sequences: vec![Sequence::default(); settings.n_sequences as usize],
            samplers: vec![sampler(&SamplerParams::greedy()); settings.n_sequences as usize],
            settings,
            routing: vec![],
            draft_routing: vec![],
            all_full: false,
        };
        session.write_constants();
        if session.engine.model().graph.is_routed() {
            session.draft_routing = session.routing_of(&Routes::Effort(options.draft_effort))?;
            session.set_routes(&Routes::default())?;
        }
        Ok(session)
    }
}

impl Session {
    /// The engine that it runs on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The tokens of a sequence, those of an answer included.
    ///
    /// # Panics
    /// Where the session has no such sequence.
    pub fn tokens(&self, sequence: u32) -> &[u32] {
        &self.sequences[sequence as usize].tokens
    }

    /// Keeps the first `n` tokens of a sequence and forgets the others.
    ///
    /// # Panics
    /// Where the session has no such sequence.
    pub fn truncate(&mut self, sequence: u32, n: usize) {
        let sequence = &mut self.sequences[sequence as usize];
        sequence.tokens.truncate(n);
        sequence.n_cached = sequence.n_cached.min(n);
    }

    /// Appends tokens to their sequences, all in one step per [`MAX_ROWS`], and returns the logits
    /// of those that `wanted` names by index: `[wanted, vocab_size]`.
    ///
    /// A batch mixes sequences; a prompt is one sequence many times. Neither changes a result
    /// beyond rounding.
    ///
    /// # Errors
    /// [`Error::UnknownToken`], [`Error::PromptTooLong`], [`Error::NotFinite`], the device's.
    ///
    /// # Panics
    /// Where the session has no such sequence, or was not made for so many logits.
    pub async fn forward(
        &mut self,
        tokens: &[(u32, u32)],
        wanted: &[u32],
    ) -> Result<Vec<f32>, Error> {
        let mut lengths: HashMap<u32, usize> = HashMap::new();
        for &(sequence, id) in tokens {
            self.check_token(id)?;
            let length = lengths
                .entry(sequence)
                .or_insert(self.sequences[sequence as usize].n_cached);
            *length += 1;
            if *length > self.settings.n_ctx as usize {
                return Err(Error::PromptTooLong {
                    found: *length,
                    limit: self.settings.n_ctx,
                });
            }
        }
        for &(sequence, _) in tokens {
            let sequence = &mut self.sequences[sequence as usize];
            sequence.tokens.truncate(sequence.n_cached);
        }
        let mut rows = vec![];
        for &(index, id) in tokens {
            let sequence = &mut self.sequences[index as usize];
            rows.push(Row {
                sequence: index,
                position: sequence.tokens.len() as u32,
            });
            sequence.tokens.push(id);
        }
        self.write_tokens(&rows);
        let mut logits = vec![];
        for (piece, rows) in rows.chunks(self.max.rows as usize).enumerate() {
            let first = piece as u32 * self.max.rows;
            let here = |&&i: &&u32| i >= first && i - first < rows.len() as u32;
            let out: Vec<u32> = wanted.iter().filter(here).map(|i| i - first).collect();
            assert!(
                out.len() <= self.max.n_out as usize,
                "a session with all_logits"
            );
            let out_rows = if out.is_empty() {
                Out::None
            } else {
                Out::Rows(&out)
            };
            let bytes = self.step(rows, out_rows, false).await?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                let row = out[at / self.engine.config().vocab_size as usize];
                return Err(self.not_finite(rows, rows[row as usize].position).await?);
            }
            logits.extend_from_slice(&values);
        }
        Ok(logits)
    }

    fn check_token(&self, id: u32) -> Result<(), Error> {
        let limit = self.engine.config().vocab_size;
        if id < limit {
            return Ok(());
        }
        Err(Error::UnknownToken { found: id, limit })
    }
}

async fn new_state(
    engine: &Engine,
    loaded: &Loaded,
    settings: &Settings,
    max: Size,
) -> Result<State, Error> {
    let graph = &engine.model().graph;
    let slots = lower(graph, engine.layouts(), settings, max).slots;
    State::new(loaded, graph, settings, &slots, max).await
}

/// The device's form of sampling settings.
fn sampler(params: &SamplerParams) -> Sampler {
    Sampler {
        temperature: if params.is_greedy() {
            0.0
        } else {
            params.temperature
        },
        top_k: params.top_k,
        top_p: params.top_p,
        min_p: params.min_p,
        repeat_penalty: params.repeat_penalty,
        seed_low: params.seed as u32,
        seed_high: (params.seed >> 32) as u32,
        pad0: 0,
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
