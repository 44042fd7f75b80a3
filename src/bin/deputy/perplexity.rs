//! `deputy perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use deputy::{Engine, Session, SessionOptions, TakenRoutes};
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::{model, output, text};

/// Measures how well a model predicts a text.
///
/// The text becomes tokens once and is cut into windows of N tokens, each with the token that
/// begins a prompt in front where the tokenizer adds one, that token counted in. Each window is
/// computed by itself and its second half scored. A last window that is not full is left out,
/// unless it is the only one.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  deputy perplexity path/to/model wikitext-2-raw-test.txt --window 1024

--json gives {\"ppl\", \"nll\", \"tokens\", \"stderr\"}: the perplexity exp(nll / tokens), the sum of \
-ln p over the scored tokens, their number, and the standard error of the perplexity.")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: PathBuf,
    /// A text file; - reads standard input
    file: PathBuf,
    /// Tokens of a window [default: 512, or the context if that is shorter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// Score the tokens of a window from this one on, counted from 0 [default: half a window]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    from: Option<u32>,
    /// Stop after this many windows
    #[arg(long, value_name = "N")]
    n_windows: Option<usize>,
}

const WINDOW: u32 = 512;

/// Rows whose logits are asked for at a time.
const ROWS: usize = 64;

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let text = text::read(&args.file)?;
    // A window longer than the default context asks for a context of its length.
    let n_ctx = global.ctx.or(args.window);
    let engine = model::load_with(&args.model, global, n_ctx).await?;
    let window = args.window.unwrap_or(WINDOW.min(engine.n_ctx())) as usize;
    if window > engine.n_ctx() as usize {
        return Err(Failure::Option {
            option: "--window",
            expected: format!("at most the context's {} tokens", engine.n_ctx()),
            found: window.to_string(),
        });
    }
    let windows = windows(&engine, &text, window)?;
    let n_windows = windows.len().min(args.n_windows.unwrap_or(usize::MAX));
    let longest = windows.iter().map(Vec::len).max().unwrap_or(0);
    let from = args.from.map_or(longest / 2, |from| from as usize).max(1);
    if from >= longest {
        return Err(Failure::Content {
            file: args.file.display().to_string(),
            expected: format!("a window of more than {from} tokens"),
            found: longest.to_string(),
        });
    }
    let options = SessionOptions {
        all_logits: true,
        ..Default::default()
    };
    let mut session = model::session(&engine, options, global).await?;
    let bar = output::count_bar("scoring", n_windows);
    let mut score = Score::default();
    let mut routes = MeanRoutes::default();
    for window in &windows[..n_windows] {
        session.truncate(0, 0);
        score_window(&mut session, window, from, &mut score).await?;
        if let Some(taken) = session.taken_routes(0).await? {
            routes.add(&taken);
        }
        bar.set_message(format!("windows, perplexity {:.4}", score.perplexity()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let routes = routes.mean();
    if global.json {
        let mut json = json!({
            "ppl": score.perplexity(),
            "nll": score.sum,
            "tokens": score.n,
            "stderr": score.standard_error(),
        });
        if let Some(routes) = &routes {
            json["routes"] = output::routes_json(routes);
        }
        return output::print_json(&json);
    }
    output::print(&format!(
        "{:.4} ± {:.4}\n",
        score.perplexity(),
        score.standard_error()
    ))?;
    output::remark(&format!(
        "{} scored in {} of {longest}, {:.5} nats a token",
        output::number(score.n, "token"),
        output::number(n_windows, "window"),
        score.mean()
    ));
    if let Some(routes) = &routes {
        output::remark(&output::routes(routes));
    }
    Ok(())
}

/// What the tokens of all windows took.
#[derive(Default)]
struct MeanRoutes {
    n: f64,
    sum: TakenRoutes,
}

impl MeanRoutes {
    fn add(&mut self, taken: &TakenRoutes) {
        self.n += 1.0;
        self.sum.attention_low += taken.attention_low;
        self.sum.ffn_low += taken.ffn_low;
        self.sum.ffn_skipped += taken.ffn_skipped;
        self.sum.compute += taken.compute;
    }

    fn mean(self) -> Option<TakenRoutes> {
        let Self { n, sum } = self;
        (n > 0.0).then(|| TakenRoutes {
            layers: vec![],
            attention_low: sum.attention_low / n,
            ffn_low: sum.ffn_low / n,
            ffn_skipped: sum.ffn_skipped / n,
            compute: sum.compute / n,
        })
    }
}

/// The text's tokens in windows.
fn windows(engine: &Engine, text: &str, window: usize) -> Result<Vec<Vec<u32>>, Failure> {
    let tokenizer = engine.tokenizer()?;
    let ids = tokenizer.encode(text, false)?;
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let n_text = window - usize::from(bos.is_some());
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

async fn score_window(
    session: &mut Session,
    ids: &[u32],
    from: usize,
    score: &mut Score,
) -> Result<(), Failure> {
    let vocab_size = session.engine().config().vocab_size as usize;
    let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
    // The logits behind a token predict the next one.
    let (unscored, scored) = tokens[..ids.len() - 1].split_at(from - 1);
    if !unscored.is_empty() {
        session.forward(unscored, &[]).await?;
    }
    let mut targets = ids[from..].iter();
    for tokens in scored.chunks(ROWS) {
        let all: Vec<u32> = (0..tokens.len() as u32).collect();
        let logits = session.forward(tokens, &all).await?;
        for (logits, &target) in logits.chunks_exact(vocab_size).zip(&mut targets) {
            score.add(negative_log_likelihood(logits, target));
        }
    }
    Ok(())
}

/// `-ln p(target)`, in f64.
fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    sum.ln() - f64::from(logits[target as usize] - most)
}

/// A sum of negative log likelihoods.
#[derive(Default)]
struct Score {
    n: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl Score {
    fn add(&mut self, nll: f64) {
        self.n += 1;
        self.sum += nll;
        self.sum_of_squares += nll * nll;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// Of the perplexity: the standard error of the mean, through the slope of exp.
    fn standard_error(&self) -> f64 {
        let n = self.n as f64;
        if self.n < 2 {
            return 0.0;
        }
        let variance = (self.sum_of_squares / n - self.mean().powi(2)).max(0.0) / (n - 1.0);
        variance.sqrt() * self.perplexity()
    }
}
