//! How well a model predicts a text: negative log likelihoods, window by window.

use super::{Session, TakenRoutes};
use crate::engine::Engine;
use crate::error::Error;

/// Tokens of a window unless another number is asked for, or the context is shorter.
pub const SCORE_WINDOW: u32 = 512;

/// Rows whose logits are asked for at a time.
const ROWS: usize = 64;

/// A sum of negative log likelihoods, with the routes that were taken.
#[derive(Clone, Debug, Default)]
pub struct Score {
    n: usize,
    sum: f64,
    sum_of_squares: f64,
    n_routed: f64,
    routes: TakenRoutes,
}

impl Score {
    /// Tokens that were scored.
    pub fn n_tokens(&self) -> usize {
        self.n
    }

    /// The sum of `-ln p` over them.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Nats a token.
    pub fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// `exp` of the mean.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// Of the perplexity: the standard error of the mean, through the slope of exp.
    pub fn standard_error(&self) -> f64 {
        let n = self.n as f64;
        if self.n < 2 {
            return 0.0;
        }
        let variance = (self.sum_of_squares / n - self.mean().powi(2)).max(0.0) / (n - 1.0);
        variance.sqrt() * self.perplexity()
    }

    /// What the windows' tokens took on average, without `layers`; `None` for a model without routers.
    pub fn routes(&self) -> Option<TakenRoutes> {
        let n = self.n_routed;
        (n > 0.0).then(|| TakenRoutes {
            layers: vec![],
            attention_low: self.routes.attention_low / n,
            ffn_low: self.routes.ffn_low / n,
            ffn_skipped: self.routes.ffn_skipped / n,
            compute: self.routes.compute / n,
        })
    }

    fn add(&mut self, nll: f64) {
        self.n += 1;
        self.sum += nll;
        self.sum_of_squares += nll * nll;
    }

    fn add_routes(&mut self, taken: &TakenRoutes) {
        self.n_routed += 1.0;
        self.routes.attention_low += taken.attention_low;
        self.routes.ffn_low += taken.ffn_low;
        self.routes.ffn_skipped += taken.ffn_skipped;
        self.routes.compute += taken.compute;
    }
}

impl Engine {
    /// A text's tokens in windows of `n` tokens, each with the token that begins a prompt in front where the
    /// tokenizer adds one, that token counted in. A last window that is not full is left out, unless it is the
    /// only one.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`], what the tokenizer reports.
    pub fn windows(&self, text: &str, n: usize) -> Result<Vec<Vec<u32>>, Error> {
        let tokenizer = self.tokenizer()?;
        let ids = tokenizer.encode(text, false)?;
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let n_text = n.saturating_sub(usize::from(bos.is_some())).max(1);
        let with_bos = |ids: &[u32]| {
            bos.into_iter()
                .chain(ids.iter().copied())
                .collect::<Vec<u32>>()
        };
        let mut windows: Vec<Vec<u32>> = ids.chunks_exact(n_text).map(with_bos).collect();
        if windows.is_empty() {
            windows.push(with_bos(&ids));
        }
        Ok(windows)
    }
}

impl Session {
    /// Computes a window by itself, in place of the first sequence, and scores its tokens from the one at `from`
    /// on; at the least the first token is not scored. The session must have been made with
    /// [`all_logits`](super::SessionOptions::all_logits).
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub async fn score(
        &mut self,
        ids: &[u32],
        from: usize,
        score: &mut Score,
    ) -> Result<(), Error> {
        let from = from.max(1);
        if from >= ids.len() {
            return Ok(());
        }
        self.truncate(0, 0);
        let vocab_size = self.engine().config().vocab_size as usize;
        let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
        // The logits behind a token predict the next one.
        let (unscored, scored) = tokens[..ids.len() - 1].split_at(from - 1);
        if !unscored.is_empty() {
            self.forward(unscored, &[]).await?;
        }
        let mut targets = ids[from..].iter();
        for tokens in scored.chunks(ROWS) {
            let all: Vec<u32> = (0..tokens.len() as u32).collect();
            let logits = self.forward(tokens, &all).await?;
            for (logits, &target) in logits.chunks_exact(vocab_size).zip(&mut targets) {
                score.add(negative_log_likelihood(logits, target));
            }
        }
        if let Some(taken) = self.taken_routes(0).await? {
            score.add_routes(&taken);
        }
        Ok(())
    }
}

/// `-ln p(target)`, in f64.
fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    sum.ln() - f64::from(logits[target as usize] - most)
}
