//! What the kernels of a step take.

use std::sync::Arc;
use std::time::Duration;

use web_time::Instant;

use super::{Out, Row, Session};
use crate::error::Error;
use crate::plan::Plan;

/// Times of a step and of its kernels.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The step's kernel calls.
    pub plan: Arc<Plan>,
    /// Shader and time of each of them, in order. On the CPU the kernel's name.
    pub kernels: Vec<(String, Duration)>,
    /// The whole step as it runs otherwise, until the host knows the token drawn.
    pub step: Duration,
}

impl Session {
    /// Times the step that appends `tokens` to the first sequence and draws the token behind them:
    /// medians of `n_runs`. The sequence stays as it was.
    ///
    /// A step has [`super::SessionOptions::max_rows`] rows at most: later tokens are left out.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::UnknownToken`], [`Error::PromptTooLong`],
    /// [`crate::gpu::Error::NoTimestamps`], and what the device reports.
    pub async fn profile(&mut self, tokens: &[u32], n_runs: usize) -> Result<Profile, Error> {
        let tokens = &tokens[..tokens.len().min(self.max.rows as usize)];
        let n_cached = self.sequences[0].n_cached;
        let end = n_cached + tokens.len();
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if end > self.settings.n_ctx as usize {
            return Err(Error::PromptTooLong {
                found: end,
                limit: self.settings.n_ctx,
            });
        }
        tokens.iter().try_for_each(|&id| self.check_token(id))?;

        let row = |position| Row {
            sequence: 0,
            position: position as u32,
        };
        let rows: Vec<Row> = (n_cached..end).map(row).collect();
        let before = self.sequences[0].tokens.clone();
        self.sequences[0].tokens.truncate(n_cached);
        self.sequences[0].tokens.extend_from_slice(tokens);
        self.write_tokens(&rows);
        self.sequences[0].tokens = before;

        let out = [rows.len() as u32 - 1];
        let out = Out::Rows(&out);
        // Makes the pipelines.
        self.try_step(&rows, out, true).await?;
        let (mut steps, mut runs) = (vec![], vec![]);
        let plan = self.prepare(&rows, out, true).await?;
        for _ in 0..n_runs.max(1) {
            let start = Instant::now();
            self.try_step(&rows, out, true).await?;
            steps.push(start.elapsed());
            runs.push(self.state.profile(&plan).await?);
        }
        let kernels = (0..plan.dispatches.len()).map(|i| {
            let times = runs.iter().map(|run| run[i].1).collect();
            (runs[0][i].0.clone(), median(times))
        });
        Ok(Profile {
            kernels: kernels.collect(),
            plan,
            step: median(steps),
        })
    }
}

/// The middle one, or the lower of the two.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) / 2]
}
