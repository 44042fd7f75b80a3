//! Prompt in, answer out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use web_time::Instant;

use super::ahead::{Step, Steps};
use super::speculate::Drafts;
use super::step::rows;
use super::{Session, sampler};
use crate::engine::{Cancel, Engine};
use crate::error::Error;
use crate::sampler::SamplerParams;
use crate::tokenizer::{DecodeStream, StopStrings};

/// Called before each step of an answer, on the thread that computes it. It may block there, which holds the answer: an
/// app in the background may not use the GPU.
#[derive(Clone)]
pub struct BeforeStep(Arc<dyn Fn() + Send + Sync>);

impl BeforeStep {
    /// Calls this.
    pub fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl std::fmt::Debug for BeforeStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeStep")
    }
}

/// How an answer is made.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// Tokens at most; as many as the context holds where `None`.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn; as the model's own [configuration](crate::model::Config::sampler) says where `None`.
    pub sampler: Option<SamplerParams>,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Go on past the model's end tokens.
    pub ignore_eos: bool,
    /// Whether the text continues the prompt's (a completion) or stands alone (a chat's answer):
    /// SentencePiece drops the space before a text's first word.
    pub continues: bool,
    /// Stops the answer from outside.
    pub cancel: Cancel,
    /// Called before each step, the first included; `cancel` is looked at afterwards.
    pub before_step: Option<BeforeStep>,
}

impl GenerateOptions {
    /// Whether another step may be computed.
    pub(super) fn goes_on(&self) -> bool {
        if let Some(BeforeStep(call)) = &self.before_step {
            call();
        }
        !self.cancel.is_cancelled()
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model drew an end token.
    Eos,
    /// This stop string came up.
    Stop(String),
    /// `max_tokens` were made.
    Length,
    /// The context has no position left.
    ContextFull,
    /// [`Cancel`], or the callback's `Break`.
    Cancelled,
}

impl StopReason {
    /// `eos`, `stop`, `length`, `context_full` or `cancelled`.
    pub fn name(&self) -> &'static str {
        match self {
            StopReason::Eos => "eos",
            StopReason::Stop(_) => "stop",
            StopReason::Length => "length",
            StopReason::ContextFull => "context_full",
            StopReason::Cancelled => "cancelled",
        }
    }
}

/// A piece of an answer, as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The token just made.
    pub id: u32,
    /// Text that is complete with it: whole characters, and nothing that may yet become a stop
    /// string. Often empty.
    pub text: &'a str,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The answer; empty for a model without a tokenizer.
    pub text: String,
    /// Its tokens, without the one that ended it.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// How many of them were still in the cache.
    pub n_reused: usize,
    /// Steps that were computed in vain, past the one that ended it.
    pub n_dropped: usize,
    /// Tokens that were drafted; see [`super::SessionOptions::speculate`].
    pub n_drafted: usize,
    /// How many of them were right.
    pub n_accepted: usize,
    /// From the call to the first token.
    pub time_to_first_token: Duration,
    /// Computing the prompt, the first token included.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

impl Generation {
    /// Prompt tokens computed a second.
    pub fn prefill_tps(&self) -> f64 {
        rate(self.n_prompt - self.n_reused, self.prefill)
    }

    /// Tokens made a second, after the first.
    pub fn decode_tps(&self) -> f64 {
        rate(self.ids.len().saturating_sub(1), self.decode)
    }
}

fn rate(n: usize, time: Duration) -> f64 {
    if n == 0 || time.is_zero() {
        return 0.0;
    }
    n as f64 / time.as_secs_f64()
}

impl Session {
    /// Answers a prompt in the first sequence. What the prompt shares with the sequence so far is
    /// taken from the cache. `on_piece` sees the answer as it comes.
    ///
    /// # Errors
    /// An impossible prompt or setting before anything is computed; later [`Error::NotFinite`] and
    /// what the device reports.
    pub async fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, Error> {
        let start = Instant::now();
        self.check_prompt(prompt, options)?;
        let engine = self.engine.clone();
        self.samplers[0] = sampler(&self.drawing(options));
        self.write_samplers();
        self.write_routing(); // An answer that was dropped may have left that of its drafts.

        let n_reused = self.reuse(0, prompt);
        let mut answer = Answer::new(&engine, options, prompt.len(), n_reused, start);
        let max_tokens = options.max_tokens.unwrap_or(usize::MAX);
        self.write_tokens(&rows(0, n_reused..prompt.len()));
        let mut steps = Decoding::new(self, max_tokens);
        let stop = loop {
            if !options.goes_on() {
                break StopReason::Cancelled;
            }
            let id = match steps.next(self).await? {
                Step::Prompt => continue,
                Step::Token(id) => id,
                Step::End => break answer.stop_at_end(max_tokens),
            };
            if let Some(stop) = answer.take(id, on_piece) {
                break stop;
            }
        };
        let mut generation = answer.finish(stop, on_piece);
        generation.n_dropped = steps.n_in_flight();
        if let Decoding::Drafts(drafts) = &steps {
            generation.n_drafted = drafts.n_drafted;
            generation.n_accepted = drafts.n_accepted;
        }
        Ok(generation)
    }

    /// How tokens are drawn.
    pub(super) fn drawing(&self, options: &GenerateOptions) -> SamplerParams {
        options.sampler.unwrap_or(self.engine.config().sampler)
    }

    pub(super) fn check_prompt(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<(), Error> {
        self.drawing(options).validate()?;
        if !options.stop.is_empty() {
            self.engine.tokenizer()?;
        }
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() >= self.settings.n_ctx as usize {
            return Err(Error::PromptTooLong {
                found: prompt.len(),
                limit: self.settings.n_ctx,
            });
        }
        prompt.iter().try_for_each(|&id| self.check_token(id))
    }

    /// How many tokens of the prompt a sequence's cache holds, but for the last one, whose logits are needed.
    pub(super) fn n_reusable(&self, sequence: u32, prompt: &[u32]) -> usize {
        let sequence = &self.sequences[sequence as usize];
        let cached = &sequence.tokens[..sequence.n_cached];
        let same = cached
            .iter()
            .zip(prompt)
            .take_while(|(a, b)| a == b)
            .count();
        same.min(prompt.len() - 1)
    }

    /// Keeps what a sequence shares with the prompt; returns how many tokens that is.
    pub(super) fn reuse(&mut self, sequence: u32, prompt: &[u32]) -> usize {
        let n = self.n_reusable(sequence, prompt);
        let sequence = &mut self.sequences[sequence as usize];
        sequence.tokens = prompt.to_vec();
        sequence.n_cached = n;
        n
    }
}

/// One token a step, or several.
enum Decoding {
    Steps(Steps),
    Drafts(Drafts),
}

impl Decoding {
    fn new(session: &Session, max_tokens: usize) -> Self {
        match session.n_drafts() {
            0 => Decoding::Steps(Steps::new(session, max_tokens)),
            n => Decoding::Drafts(Drafts::new(session, n, max_tokens)),
        }
    }

    async fn next(&mut self, session: &mut Session) -> Result<Step, Error> {
        match self {
            Decoding::Steps(steps) => steps.next(session).await,
            Decoding::Drafts(drafts) => drafts.next(session).await,
        }
    }

    fn n_in_flight(&self) -> usize {
        match self {
            Decoding::Steps(steps) => steps.n_in_flight(),
            Decoding::Drafts(drafts) => drafts.n_in_flight(),
        }
    }
}

/// An answer as it is made: its tokens, its text, and where it ends.
pub(super) struct Answer<'t> {
    generation: Generation,
    text: Text<'t>,
    eos: Vec<u32>,
    /// When its prompt's first step could be submitted.
    start: Instant,
    first_token: Option<Instant>,
}

impl<'t> Answer<'t> {
    pub(super) fn new(
        engine: &'t Engine,
        options: &GenerateOptions,
        n_prompt: usize,
        n_reused: usize,
        start: Instant,
    ) -> Self {
        let tokenizer = engine.tokenizer().ok();
        Self {
            generation: Generation {
                text: String::new(),
                ids: vec![],
                stop: StopReason::Length,
                n_prompt,
                n_reused,
                n_dropped: 0,
                n_drafted: 0,
                n_accepted: 0,
                time_to_first_token: Duration::ZERO,
                prefill: Duration::ZERO,
                decode: Duration::ZERO,
            },
            text: Text {
                stream: tokenizer.map(if options.continues {
                    DecodeStream::continuing
                } else {
                    DecodeStream::new
                }),
                stops: StopStrings::new(options.stop.iter().cloned()),
                all: String::new(),
            },
            eos: if options.ignore_eos {
                vec![]
            } else {
                engine.eos()
            },
            start,
            first_token: None,
        }
    }

    /// Takes the next token, and says why the answer is over if it is.
    pub(super) fn take(
        &mut self,
        id: u32,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Option<StopReason> {
        self.first_token.get_or_insert_with(Instant::now);
        if self.eos.contains(&id) {
            return Some(StopReason::Eos);
        }
        self.generation.ids.push(id);
        let text = self.text.push(id);
        let flow = on_piece(Piece { id, text: &text });
        if let Some(stop) = self.text.stops.matched() {
            return Some(StopReason::Stop(stop.to_owned()));
        }
        flow.is_break().then_some(StopReason::Cancelled)
    }

    /// Why it is over where no position is left.
    pub(super) fn stop_at_end(&self, max_tokens: usize) -> StopReason {
        match self.generation.ids.len() >= max_tokens {
            true => StopReason::Length,
            false => StopReason::ContextFull,
        }
    }

    /// The finished answer, whose last text is shown.
    pub(super) fn finish(
        self,
        stop: StopReason,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Generation {
        let mut generation = self.generation;
        generation.stop = stop;
        if let Some(first_token) = self.first_token {
            generation.prefill = first_token - self.start;
            generation.time_to_first_token = generation.prefill;
            generation.decode = first_token.elapsed();
        }
        let (all, rest) = self.text.finish();
        if let Some(&id) = generation.ids.last()
            && !rest.is_empty()
        {
            // The answer is over: there is nothing left to stop.
            let _ = on_piece(Piece { id, text: &rest });
        }
        generation.text = all;
        generation
    }
}

/// Tokens to text that may be shown.
struct Text<'t> {
    stream: Option<DecodeStream<'t>>,
    stops: StopStrings,
    all: String,
}

impl Text<'_> {
    fn push(&mut self, id: u32) -> String {
        let decoded = self.stream.as_mut().and_then(|stream| stream.push(id));
        let text = decoded
            .map(|text| self.stops.push(&text))
            .unwrap_or_default();
        self.all.push_str(&text);
        text
    }

    /// The whole text, and what was still held back.
    fn finish(mut self) -> (String, String) {
        let mut rest = String::new();
        if self.stops.matched().is_none() {
            let tail = self.stream.map(DecodeStream::finish).unwrap_or_default();
            rest = self.stops.push(&tail);
            if self.stops.matched().is_none() {
                rest.push_str(&self.stops.finish());
            }
        }
        self.all.push_str(&rest);
        (self.all, rest)
    }
}
