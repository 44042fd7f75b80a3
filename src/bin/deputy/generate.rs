//! `deputy generate`: continues a text.

use std::io::{self, IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

use deputy::{Engine, Piece, SessionOptions, StopReason};

use crate::args::{self, Global, Sampling};
use crate::batch::{self, Batch};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::model::Given;
use crate::{model, output};

/// Continues a text.
///
/// Control tokens in the text count: what is written is what the model gets. For a conversation
/// with a model that was trained for it, use `deputy chat`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy generate model.gguf -p 'Once upon a time' -n 100
  deputy generate path/to/model -p - --temp 0 --json < prompt.txt
  deputy generate path/to/model --prompt-ids 1,403,407 --ids -n 16
  deputy generate path/to/model --prompts prompts.txt --batch 16 -n 64 --json

--json gives {\"text\", \"ids\", \"stop\", \"prompt_tokens\", \"prefill_tps\", \"decode_tps\", \"ttft_ms\", \
\"drafted\", \"accepted\", \"cache\"}, and \"routes\" for a model with routers; stop is eos, stop, length, context_full or cancelled. With --prompts it gives one such object a line, in the order \
of the prompts, each with its \"prompt\" and without \"cache\".")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// The text to continue; - or nothing reads standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The tokens to continue, instead of a text
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = args::id, conflicts_with = "prompt")]
    prompt_ids: Vec<u32>,
    /// Continue each line of this file, several at a time; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_ids"])]
    prompts: Option<PathBuf>,
    /// Prompts at a time, each with a cache of its own [default: 8]
    #[arg(long, value_name = "N", requires = "prompts", conflicts_with_all = ["prompt", "prompt_ids"],
        value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: Option<u32>,
    /// Control tokens in the text are plain text
    #[arg(long)]
    plain: bool,
    /// Print the ids of the tokens instead of text
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    sampling: Sampling,
}

/// Prompts at a time unless another number is asked for.
const BATCH: u32 = 8;

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    args.sampling.check()?;
    if let Some(file) = &args.prompts {
        let engine = args.model.load("generate", global).await?;
        let batch = Batch {
            file,
            n_sequences: args.batch.unwrap_or(BATCH),
            plain: args.plain,
            ids: args.ids,
        };
        let options = args.sampling.options(global, &engine);
        return batch::run(&batch, &engine, options, global).await;
    }
    if args.prompt.is_none() && args.prompt_ids.is_empty() && io::stdin().is_terminal() {
        let what =
            "there is nothing to continue; pass -p TEXT or --prompt-ids 1,2,3, or pipe a text in";
        return Err(Failure::NoPrompt { what });
    }
    let engine = args.model.load("generate", global).await?;
    let mut options = args.sampling.options(global, &engine);
    let prompt = prompt(args, &engine)?;
    let mut session = model::session(&engine, SessionOptions::default(), global).await?;
    let guard = Guard::new();
    options.cancel = guard.cancel.clone();
    options.continues = true;

    // A model without a tokenizer has only ids to show.
    let show_ids = args.ids || engine.tokenizer().is_err();
    let mut printed = Ok(());
    let mut on_piece = |piece: Piece<'_>| {
        if !global.json && !show_ids {
            printed = output::print_answer(piece.text);
        }
        if printed.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let generation = session.generate(&prompt, &options, &mut on_piece).await?;
    drop(guard);
    printed?;
    let routes = session.taken_routes(0).await?;
    let cache = session.cache_use().await?;
    if global.json {
        let mut json = output::generation_json(&generation);
        json["cache"] = output::cache_json(&cache);
        if let Some(routes) = &routes {
            json["routes"] = output::routes_json(routes);
        }
        output::print_json(&json)?;
    } else if show_ids {
        output::print(&format!("{}\n", output::ids(&generation.ids)))?;
    } else {
        output::print("\n")?;
    }
    output::remark(&output::summary(&generation));
    if let Some(routes) = &routes {
        output::remark(&output::routes(routes));
        output::remark(&output::cache(&cache));
    }
    if generation.stop == StopReason::Cancelled {
        return Err(Failure::Interrupted);
    }
    Ok(())
}

fn prompt(args: &Args, engine: &Engine) -> Result<Vec<u32>, Failure> {
    if !args.prompt_ids.is_empty() {
        return Ok(args.prompt_ids.clone());
    }
    let text = match args.prompt.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        _ => stdin(engine.n_ctx())?,
    };
    Ok(engine.encode_prompt(&text, !args.plain)?)
}

/// Standard input, as far as a context can hold it.
fn stdin(n_ctx: u32) -> Result<String, Failure> {
    // No token stands for more than some 128 spaces.
    let limit = u64::from(n_ctx) * 256;
    let failed = |cause| Failure::Io {
        file: "standard input".to_owned(),
        cause,
    };
    let mut text = String::new();
    let n = io::stdin()
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if n as u64 > limit {
        return Err(Failure::Content {
            file: "standard input".to_owned(),
            expected: format!("at most {limit} bytes for a context of {n_ctx} positions"),
            found: "more".to_owned(),
        });
    }
    Ok(text)
}
