//! Several tokens a step: drafted by the model itself at a low effort, verified on the routes that were asked for.
//!
//! What is drawn from a row of logits depends on the seed, the position and the tokens before it, and on nothing else
//! (see [`crate::sampler`]). So the verifying step draws from each row what plain decoding would have drawn there, as
//! long as the drafts before it were right: the answer is the same, word for word, sampled or not. Drafts write into
//! the cache that the verifying step then writes anew.

use std::collections::VecDeque;

use super::Session;
use super::ahead::{Step, Steps};
use super::step::rows;
use crate::engine::Ticket;
use crate::error::Error;
use crate::kernels::sample::NOT_FINITE;

/// The steps of an answer, some tokens at a time.
pub(super) struct Drafts {
    /// Those of the prompt and of the first token.
    plain: Steps,
    /// Tokens to draft each time.
    n: usize,
    /// No step has this position or a later one.
    end: usize,
    /// Verified, and not yet taken.
    ready: VecDeque<u32>,
    /// How many were drafted, and how many of them were right.
    pub(super) n_drafted: usize,
    pub(super) n_accepted: usize,
    /// Tokens in the cache when the device was last lost.
    lost_at: Option<usize>,
}

impl Drafts {
    pub(super) fn new(session: &Session, n: usize, max_tokens: usize) -> Self {
        let n_prompt = session.sequences[0].tokens.len();
        let end = (n_prompt - 1).saturating_add(max_tokens);
        Self {
            plain: Steps::new(session, max_tokens.min(1)),
            n,
            end: end.min(session.settings.n_ctx as usize),
            ready: VecDeque::new(),
            n_drafted: 0,
            n_accepted: 0,
            lost_at: None,
        }
    }

    /// Tokens that were verified and are not asked for.
    pub(super) fn n_in_flight(&self) -> usize {
        self.plain.n_in_flight() + self.ready.len()
    }

    /// As [`Steps::next`].
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Step, Error> {
        match self.plain.next(session).await? {
            Step::End => {}
            step => return Ok(step),
        }
        while self.ready.is_empty() {
            let n_cached = session.sequences[0].n_cached;
            if session.sequences[0].tokens.len() > self.end {
                return Ok(Step::End);
            }
            match self.round(session).await {
                Err(error) if error.is_device_lost() && self.lost_at != Some(n_cached) => {
                    log::warn!("{error}; loading again");
                    self.lost_at = Some(n_cached);
                    session.recover().await?;
                }
                result => result?,
            }
        }
        let Some(id) = self.ready.pop_front() else {
            return Ok(Step::End);
        };
        let sequence = &mut session.sequences[0];
        sequence.n_cached = sequence.tokens.len();
        sequence.tokens.push(id);
        Ok(Step::Token(id))
    }

    /// Drafts behind the last token, and verifies all at once.
    async fn round(&mut self, session: &mut Session) -> Result<(), Error> {
        let last = session.sequences[0].tokens.len() - 1;
        let n = self.n.min(self.end - 1 - last);
        session.write_draft_routing();
        let drafted = draft(session, last, n).await;
        session.write_routing();
        let drafted = drafted?;
        let positions = rows(0, last..last + n + 1);
        let all: Vec<u32> = (0..positions.len() as u32).collect();
        let verified = session.submit_drawing(&positions, &all).await?;
        let mut drafts: Vec<u32> = vec![];
        for ticket in drafted {
            drafts.extend(ids(session, ticket).await?);
        }
        let drawn = ids(session, verified).await?;
        if let Some(bad) = drawn.iter().position(|&id| id == NOT_FINITE) {
            let right = drafts[..bad].iter().zip(&drawn).all(|(a, b)| a == b);
            if right {
                let rows = rows(0, last..last + bad + 1);
                return Err(session.not_finite(&rows, (last + bad) as u32).await?);
            }
        }
        let pairs = drafts.iter().zip(&drawn);
        let n_right = pairs.take_while(|(draft, id)| draft == id).count();
        self.n_drafted += n;
        self.n_accepted += n_right;
        self.ready.extend(&drawn[..=n_right]);
        Ok(())
    }
}

/// Submits `n` steps behind `last`; each draws what the next one reads.
async fn draft(session: &mut Session, last: usize, n: usize) -> Result<Vec<Ticket>, Error> {
    let mut tickets = vec![];
    for position in last..last + n {
        tickets.push(
            session
                .submit(&rows(0, position..position + 1), true)
                .await?,
        );
    }
    Ok(tickets)
}

async fn ids(session: &mut Session, ticket: Ticket) -> Result<Vec<u32>, Error> {
    let bytes = session.state.wait(ticket).await?;
    Ok(bytemuck::pod_collect_to_vec(&bytes))
}
