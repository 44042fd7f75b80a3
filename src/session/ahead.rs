//! Steps of an answer, submitted before the ids of those before them have come back.

use std::collections::VecDeque;
use std::ops::Range;

use super::Session;
use super::step::rows;
use crate::engine::Ticket;
use crate::error::Error;
use crate::kernels::sample::NOT_FINITE;

/// The steps of the first sequence's answer. The sampler leaves each token where the next step
/// reads it, so a step needs no more than its position. What is in flight beyond the last id taken
/// is a guess that the answer goes on; it is dropped by forgetting it: what it wrote lies behind
/// the sequence's end and is written again before it is read.
pub(super) struct Steps {
    /// Tokens of the prompt.
    n_prompt: usize,
    /// The position that comes next.
    next: usize,
    /// No step has this position or a later one.
    end: usize,
    /// Positions submitted, oldest first.
    in_flight: VecDeque<(Range<usize>, Ticket)>,
    /// Tokens in the cache when the device was last lost.
    lost_at: Option<usize>,
}

/// What came back.
pub(super) enum Step {
    /// A piece of the prompt is done.
    Prompt,
    /// The answer's next token, by now one of its sequence's.
    Token(u32),
    /// There is no position left.
    End,
}

impl Steps {
    /// From the first uncached position on, for at most `max_tokens` tokens.
    pub(super) fn new(session: &Session, max_tokens: usize) -> Self {
        let sequence = &session.sequences[0];
        let n_prompt = sequence.tokens.len();
        // The prompt's last position makes the first token.
        let end = (n_prompt - 1).saturating_add(max_tokens);
        Self {
            n_prompt,
            next: sequence.n_cached,
            end: end.min(session.settings.n_ctx as usize),
            in_flight: VecDeque::new(),
            lost_at: None,
        }
    }

    /// Steps submitted whose results have not been taken.
    pub(super) fn n_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Keeps the device busy and waits for its oldest step. Opens a lost device again.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Step, Error> {
        loop {
            let result = self.try_next(session).await;
            let n_cached = session.sequences[0].n_cached;
            match result {
                // Not for a device that is lost again before it has done anything.
                Err(error) if error.is_device_lost() && self.lost_at != Some(n_cached) => {
                    log::warn!("{error}; loading again");
                    self.lost_at = Some(n_cached);
                    self.in_flight.clear();
                    session.recover().await?;
                    self.next = n_cached;
                }
                result => return result,
            }
        }
    }

    async fn try_next(&mut self, session: &mut Session) -> Result<Step, Error> {
        while self.may_submit(session) {
            let positions = self.piece(session.max.rows as usize);
            let samples = positions.end >= self.n_prompt;
            let ticket = session.submit(&rows(0, positions.clone()), samples).await?;
            self.next = positions.end;
            self.in_flight.push_back((positions, ticket));
        }
        let Some((positions, ticket)) = self.in_flight.pop_front() else {
            return Ok(Step::End);
        };
        let drawn = session.state.wait(ticket).await?;
        let samples = positions.end >= self.n_prompt;
        let id: u32 = bytemuck::pod_read_unaligned(&drawn);
        if samples && id == NOT_FINITE {
            let position = positions.end as u32 - 1;
            return Err(session.not_finite(&rows(0, positions), position).await?);
        }
        let sequence = &mut session.sequences[0];
        sequence.n_cached = positions.end;
        if !samples {
            return Ok(Step::Prompt);
        }
        sequence.tokens.push(id);
        Ok(Step::Token(id))
    }

    /// Guesses begin with the first token, which they would hold up where submitting takes long, and
    /// become one more with each, so that a short answer wastes few.
    fn may_submit(&self, session: &Session) -> bool {
        let n_known = session.sequences[0].tokens.len();
        let n_drawn = n_known - self.n_prompt;
        self.next < self.end.min(n_known + n_drawn) && self.in_flight.len() < session.run_ahead()
    }

    /// The next step: a piece of the prompt of up to `max_rows` rows, or one row of the answer.
    fn piece(&self, max_rows: usize) -> Range<usize> {
        let known = self.n_prompt.clamp(self.next + 1, self.next + max_rows);
        self.next..known.min(self.end)
    }
}
