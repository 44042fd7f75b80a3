//! Several prompts at a time: a step computes rows of all sequences that are not done.
//!
//! A sequence whose answer is over makes room for the next prompt at once, whose pieces go along with the others'
//! tokens. Each answer is what its prompt would have got alone: neither logits nor draws depend on a row's mates in
//! its step.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

use web_time::Instant;

use super::generate::Answer;
use super::step::rows;
use super::{GenerateOptions, Generation, Piece, Session, StopReason, sampler};
use crate::engine::{Engine, Ticket};
use crate::error::Error;
use crate::kernels::Row;
use crate::kernels::sample::NOT_FINITE;

type OnPiece<'a> = &'a mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>;

impl Session {
    /// Answers many prompts, as many at a time as the session has sequences. A prompt takes the free sequence that
    /// shares most with it; what they share is not computed again. All have the same options, the seed included.
    ///
    /// `on_piece` gets the prompt's index and each token as soon as it is known, those of different prompts in turn;
    /// its `Break` ends that prompt's answer, [`GenerateOptions::cancel`] all of them. The answers come in the order
    /// of the prompts. Nothing is drafted, whatever [`super::SessionOptions::speculate`] says.
    ///
    /// # Errors
    /// An impossible prompt or setting before anything is computed; later [`Error::NotFinite`] and
    /// what the device reports.
    pub async fn generate_batch(
        &mut self,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        on_piece: &mut dyn FnMut(usize, Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, Error> {
        for prompt in prompts {
            self.check_prompt(prompt, options)?;
        }
        let drawing = sampler(&self.drawing(options));
        self.samplers.fill(drawing);
        self.write_samplers();
        let engine = self.engine.clone();
        let mut batch = Batch {
            engine: &engine,
            options,
            prompts,
            n_begun: 0,
            live: vec![],
            in_flight: VecDeque::new(),
            done: prompts.iter().map(|_| None).collect(),
            n_taken: 0,
            lost_at: None,
        };
        while options.goes_on() {
            batch.begin(self, on_piece);
            if !batch.next(self, on_piece).await? {
                break;
            }
        }
        Ok(batch.finish(on_piece))
    }
}

/// Prompts on their way to answers.
struct Batch<'a> {
    engine: &'a Engine,
    options: &'a GenerateOptions,
    prompts: &'a [Vec<u32>],
    /// Prompts that have, or had, a sequence.
    n_begun: usize,
    /// Those that are not done, in the order of their prompts.
    live: Vec<Live<'a>>,
    /// Submitted, oldest first.
    in_flight: VecDeque<InFlight>,
    /// By prompt.
    done: Vec<Option<Generation>>,
    /// Steps that have come back.
    n_taken: usize,
    /// How many had when the device was last lost.
    lost_at: Option<usize>,
}

/// A prompt with a sequence of its own.
struct Live<'a> {
    prompt: usize,
    sequence: u32,
    answer: Answer<'a>,
    n_prompt: usize,
    /// The position that comes next.
    next: usize,
    /// No step has this position or a later one.
    end: usize,
}

struct InFlight {
    rows: Vec<Row>,
    spans: Vec<Span>,
    ticket: Ticket,
}

/// A prompt's part of a step.
#[derive(Clone)]
struct Span {
    prompt: usize,
    sequence: u32,
    positions: Range<usize>,
    /// Whether a token is drawn from the last one.
    samples: bool,
}

impl<'a> Batch<'a> {
    /// Gives free sequences to the prompts that come next.
    fn begin(&mut self, session: &mut Session, on_piece: OnPiece<'_>) {
        while let Some(prompt) = self.prompts.get(self.n_begun) {
            let is_free = |&sequence: &u32| self.live.iter().all(|live| live.sequence != sequence);
            let free = (0..session.settings.n_sequences).filter(is_free);
            // Of equals the first.
            let best = free.rev().max_by_key(|&s| session.n_reusable(s, prompt));
            let Some(sequence) = best else { return };
            let start = Instant::now();
            let n_reused = session.reuse(sequence, prompt);
            session.write_tokens(&rows(sequence, n_reused..prompt.len()));
            let max_tokens = self.options.max_tokens.unwrap_or(usize::MAX);
            // The prompt's last position makes the first token.
            let end = (prompt.len() - 1).saturating_add(max_tokens);
            let live = Live {
                prompt: self.n_begun,
                sequence,
                answer: Answer::new(self.engine, self.options, prompt.len(), n_reused, start),
                n_prompt: prompt.len(),
                next: n_reused,
                end: end.min(session.settings.n_ctx as usize),
            };
            self.n_begun += 1;
            match live.next < live.end {
                true => self.live.push(live),
                false => self.end(live, StopReason::Length, on_piece),
            }
        }
    }

    /// Keeps the device busy, waits for its oldest step and takes what it drew; opens a lost device again. Says
    /// whether there was one.
    async fn next(&mut self, session: &mut Session, on_piece: OnPiece<'_>) -> Result<bool, Error> {
        loop {
            match self.wait(session).await {
                // Not for a device that is lost again before it has done anything.
                Err(error) if error.is_device_lost() && self.lost_at != Some(self.n_taken) => {
                    log::warn!("{error}; loading again");
                    self.lost_at = Some(self.n_taken);
                    self.in_flight.clear();
                    session.recover().await?;
                    for live in &mut self.live {
                        live.next = session.sequences[live.sequence as usize].n_cached;
                    }
                }
                Err(error) => return Err(error),
                Ok(None) => return Ok(false),
                Ok(Some((spans, drawn))) => {
                    self.n_taken += 1;
                    self.take(session, &spans, &drawn, on_piece);
                    return Ok(true);
                }
            }
        }
    }

    /// Submits what may be, and waits for the oldest step: its spans, and the tokens drawn.
    async fn wait(
        &mut self,
        session: &mut Session,
    ) -> Result<Option<(Vec<Span>, Vec<u32>)>, Error> {
        while self.in_flight.len() < session.run_ahead() {
            let spans = self.spans(session);
            if spans.is_empty() {
                break;
            }
            let mut step_rows = vec![];
            let mut drawn = vec![];
            for span in &spans {
                step_rows.extend(rows(span.sequence, span.positions.clone()));
                if span.samples {
                    drawn.push(step_rows.len() as u32 - 1);
                }
            }
            // A bucket of draws, as of rows: drawing the last one again changes nothing, and few plans serve all.
            if let Some(&last) = drawn.last() {
                let bucket = drawn.len().next_power_of_two();
                drawn.resize(bucket.min(session.max.n_out as usize), last);
            }
            let ticket = session.submit_drawing(&step_rows, &drawn).await?;
            for (live, span) in self.live_of(&spans) {
                live.next = span.positions.end;
            }
            self.in_flight.push_back(InFlight {
                rows: step_rows,
                spans,
                ticket,
            });
        }
        let Some(step) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let bytes = session.state.wait(step.ticket).await?;
        let drawn: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        let mut n_rows = 0;
        let mut drawn_of = drawn.iter();
        for span in &step.spans {
            n_rows += span.positions.len();
            let bad = span.samples && drawn_of.next() == Some(&NOT_FINITE);
            // What comes behind an answer's end is nobody's.
            if bad && self.live.iter().any(|live| live.prompt == span.prompt) {
                let position = span.positions.end as u32 - 1;
                let rows = &step.rows[..n_rows];
                return Err(session.not_finite(rows, position).await?);
            }
        }
        Ok(Some((step.spans, drawn)))
    }

    /// The next step: a row of each answer, then pieces of prompts, as many as there is room for.
    fn spans(&self, session: &Session) -> Vec<Span> {
        let mut room = session.max.rows as usize;
        let mut spans = vec![];
        let of_answers = self.live.iter().filter(|live| live.next >= live.n_prompt);
        let of_prompts = self.live.iter().filter(|live| live.next < live.n_prompt);
        for live in of_answers.chain(of_prompts) {
            let n_known = session.sequences[live.sequence as usize].tokens.len();
            // As for one answer: guesses begin with its first token and become one more with each.
            let n_drawn = n_known - live.n_prompt;
            let end = live.end.min(n_known + n_drawn);
            let longest = live.n_prompt.saturating_sub(live.next).max(1);
            let n = end.saturating_sub(live.next).min(longest).min(room);
            if n > 0 {
                room -= n;
                let positions = live.next..live.next + n;
                spans.push(Span {
                    prompt: live.prompt,
                    sequence: live.sequence,
                    samples: positions.end >= live.n_prompt,
                    positions,
                });
            }
        }
        spans
    }

    /// Hands out the tokens of a step.
    fn take(
        &mut self,
        session: &mut Session,
        spans: &[Span],
        drawn: &[u32],
        on_piece: OnPiece<'_>,
    ) {
        let mut drawn = drawn.iter();
        let max_tokens = self.options.max_tokens.unwrap_or(usize::MAX);
        for span in spans {
            let id = if span.samples { drawn.next() } else { None };
            let Some(at) = self.live.iter().position(|live| live.prompt == span.prompt) else {
                continue;
            };
            let live = &mut self.live[at];
            let sequence = &mut session.sequences[span.sequence as usize];
            sequence.n_cached = span.positions.end;
            let mut stop = None;
            if let Some(&id) = id {
                sequence.tokens.push(id);
                stop = live
                    .answer
                    .take(id, &mut |piece| on_piece(span.prompt, piece));
            }
            if span.positions.end == live.end {
                stop.get_or_insert_with(|| live.answer.stop_at_end(max_tokens));
            }
            if let Some(stop) = stop {
                let live = self.live.remove(at);
                self.end(live, stop, on_piece);
            }
        }
    }

    fn end(&mut self, live: Live<'_>, stop: StopReason, on_piece: OnPiece<'_>) {
        let prompt = live.prompt;
        let mut generation = live
            .answer
            .finish(stop, &mut |piece| on_piece(prompt, piece));
        let spans = self.in_flight.iter().flat_map(|step| &step.spans);
        generation.n_dropped = spans.filter(|span| span.prompt == prompt).count();
        self.done[prompt] = Some(generation);
    }

    /// All answers; those that are not over were cancelled.
    fn finish(mut self, on_piece: OnPiece<'_>) -> Vec<Generation> {
        for live in std::mem::take(&mut self.live) {
            self.end(live, StopReason::Cancelled, on_piece);
        }
        let never_begun = |prompt: &Vec<u32>| {
            let answer = Answer::new(self.engine, self.options, prompt.len(), 0, Instant::now());
            answer.finish(StopReason::Cancelled, &mut |_| ControlFlow::Break(()))
        };
        let done = self.done.into_iter().zip(self.prompts);
        done.map(|(done, prompt)| done.unwrap_or_else(|| never_begun(prompt)))
            .collect()
    }

    fn live_of<'s>(
        &'s mut self,
        spans: &'s [Span],
    ) -> impl Iterator<Item = (&'s mut Live<'a>, &'s Span)> {
        self.live.iter_mut().filter_map(|live| {
            let span = spans.iter().find(|span| span.prompt == live.prompt)?;
            Some((live, span))
        })
    }
}
