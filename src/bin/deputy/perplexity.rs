//! `deputy perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use deputy::{SCORE_WINDOW, Score, SessionOptions};
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

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let text = text::read(&args.file)?;
    // A window longer than the default context asks for a context of its length.
    let n_ctx = global.ctx.or(args.window);
    let engine = model::load_with(&args.model, global, n_ctx).await?;
    let window = args.window.unwrap_or(SCORE_WINDOW.min(engine.n_ctx())) as usize;
    if window > engine.n_ctx() as usize {
        return Err(Failure::Option {
            option: "--window",
            expected: format!("at most the context's {} tokens", engine.n_ctx()),
            found: window.to_string(),
        });
    }
    let windows = engine.windows(&text, window)?;
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
    for window in &windows[..n_windows] {
        session.score(window, from, &mut score).await?;
        bar.set_message(format!("windows, perplexity {:.4}", score.perplexity()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let routes = score.routes();
    if global.json {
        let mut json = json!({
            "ppl": score.perplexity(),
            "nll": score.sum(),
            "tokens": score.n_tokens(),
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
        output::number(score.n_tokens(), "token"),
        output::number(n_windows, "window"),
        score.mean()
    ));
    if let Some(routes) = &routes {
        output::remark(&output::routes(routes));
    }
    Ok(())
}
