//! Tokens per second over the time of an answer.

use std::time::{Duration, Instant};

/// Tokens further back than this no longer count towards the speed of a moment.
const WINDOW: Duration = Duration::from_millis(750);

/// When an answer was asked for, and when each of its tokens came.
#[derive(Clone, Debug)]
pub(crate) struct Speed {
    asked: Instant,
    tokens: Vec<Instant>,
}

impl Speed {
    pub(crate) fn new(asked: Instant) -> Self {
        Self {
            asked,
            tokens: vec![],
        }
    }

    pub(crate) fn push(&mut self, at: Instant) {
        self.tokens.push(at);
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// From the question to the first token.
    pub(crate) fn first_token(&self) -> Option<Duration> {
        let first = self.tokens.first()?;
        Some(first.duration_since(self.asked))
    }

    /// Tokens a second after the first.
    pub(crate) fn mean(&self) -> Option<f64> {
        rate(&self.tokens)
    }

    /// Seconds since the question, and tokens a second then, from the second token on.
    pub(crate) fn points(&self) -> Vec<[f64; 2]> {
        let mut from = 0;
        let mut points = vec![];
        for (at, token) in self.tokens.iter().enumerate() {
            while token.duration_since(self.tokens[from]) > WINDOW && from + 1 < at {
                from += 1;
            }
            if let Some(rate) = rate(&self.tokens[from..=at]) {
                points.push([token.duration_since(self.asked).as_secs_f64(), rate]);
            }
        }
        points
    }
}

/// Of the tokens behind the first.
fn rate(tokens: &[Instant]) -> Option<f64> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let time = last.duration_since(*first).as_secs_f64();
    (time > 0.0).then(|| (tokens.len() - 1) as f64 / time)
}
