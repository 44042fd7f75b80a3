//! `deputy bench`: how fast a model runs, how near that is to the device's limit, and what takes
//! the time.

mod kernels;
mod report;
mod work;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use deputy::sampler::SamplerParams;
use deputy::{Engine, GenerateOptions, MAX_ROWS, Session, SessionOptions};

use crate::args::Global;
use crate::failure::Failure;
use crate::model::Given;
use crate::{model, output};
use report::Report;
use work::{Step, Work};

/// Measures prefill and decode on random tokens.
///
/// GB/s counts what a decoded token must read: every weight that it uses and the cache before it.
/// The bandwidth that it is compared with is that of a copy on the same device in the same run,
/// bytes read and bytes written together. TFLOP/s counts two operations for each weight and cached
/// element that a prompt's token is multiplied with.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy bench path/to/model
  deputy bench model.gguf --weights q4 -p 512 -n 128 -d 4096 -o csv
  deputy bench model.gguf --profile")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// Tokens of the prompt; 0 leaves the test out
    #[arg(short = 'p', long, value_name = "N", default_value_t = 512)]
    n_prompt: u32,
    /// Tokens to make; 0 leaves the test out
    #[arg(short, long = "n-gen", value_name = "N", default_value_t = 128)]
    n_gen: u32,
    /// Repetitions
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Tokens in the cache before each test
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    depth: u32,
    /// Steps in flight while tokens are made; 1 waits for each
    #[arg(long, value_name = "N")]
    run_ahead: Option<u32>,
    /// Time each kernel of a prefill step and of a decode step, too
    #[arg(long)]
    profile: bool,
    /// Names what was measured in the result
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "md")]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Md,
    Json,
    Csv,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let start = Instant::now();
    let n_ctx = args
        .depth
        .saturating_add(args.n_prompt.max(args.n_gen.saturating_add(1)))
        .max(1);
    let engine = args
        .model
        .load_with("bench", global, Some(global.ctx.unwrap_or(n_ctx)))
        .await?;
    if n_ctx > engine.n_ctx() {
        return Err(Failure::Option {
            option: "--ctx",
            expected: format!("at least {n_ctx} positions for these -p, -n and -d"),
            found: engine.n_ctx().to_string(),
        });
    }
    let load = start.elapsed();
    let options = SessionOptions {
        run_ahead: args.run_ahead,
        ..Default::default()
    };
    let mut session = model::session(&engine, options, global).await?;
    let cold = Cold {
        load,
        n_prompt: args.n_prompt.max(1),
        first_token: first_token(&mut session, args, global, start).await?,
    };
    let mut profiles = vec![];
    if args.profile && args.n_prompt > 0 {
        let n_rows = args.n_prompt.min(MAX_ROWS);
        profiles.push(profile(&mut session, args, global, "pp", n_rows).await?);
    }
    if args.profile && args.n_gen > 0 {
        profiles.push(profile(&mut session, args, global, "tg", 1).await?);
    }
    let mut tests = vec![];
    if args.n_prompt > 0 {
        tests.push(prefill(&mut session, args, global).await?);
    }
    if args.n_gen > 0 {
        tests.push(decode(&mut session, args, global).await?);
    }
    let n_dispatches = step(&session, global, 1, 0).plan().dispatches.len();
    drop(session);
    let commit = args.commit.clone();
    let report = Report::new(&engine, global, commit, n_dispatches, cold, tests, profiles).await?;
    match args.output {
        _ if global.json => output::print_json(&report.json()),
        Format::Json => output::print_json(&report.json()),
        Format::Md => output::print(&report.markdown()),
        Format::Csv => output::print(&report.csv()),
    }
}

/// What a start costs with nothing prepared: files, device, pipelines.
struct Cold {
    load: Duration,
    n_prompt: u32,
    /// From before the load to the first token of a prompt of `n_prompt`.
    first_token: Duration,
}

/// What one kind of run gave.
struct Test {
    name: String,
    kind: Kind,
    tokens_per_second: Vec<f64>,
    /// Of one token on average.
    work: Work,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Prefill,
    Decode,
}

/// The first prompt after a load, which makes the pipelines; returns the time since `start`.
async fn first_token(
    session: &mut Session,
    args: &Args,
    global: &Global,
    start: Instant,
) -> Result<Duration, Failure> {
    let ids = random_ids(session.engine(), global, 0, args.n_prompt.max(1));
    let logits = session.forward(&ids, &[ids.len() as u32 - 1]).await?;
    let token = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let time = start.elapsed();
    log::debug!("first token {:?} after {time:.2?}", token.map(|(id, _)| id));
    Ok(time)
}

async fn prefill(session: &mut Session, args: &Args, global: &Global) -> Result<Test, Failure> {
    let bar = output::count_bar("prefill", args.repeat as usize + 1);
    let mut rates = vec![];
    // The first run makes what this depth needs, and is not counted.
    for run in 0..=args.repeat {
        fill(session, args.depth, global).await?;
        let ids = random_ids(session.engine(), global, run.into(), args.n_prompt);
        let last = ids.len() as u32 - 1;
        let start = Instant::now();
        session.forward(&ids, &[last]).await?;
        rates.push(f64::from(args.n_prompt) / start.elapsed().as_secs_f64());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let step = step(session, global, args.n_prompt, args.depth);
    let whole = step.work(&step.plan().dispatches.iter().collect::<Vec<_>>());
    let n = u64::from(args.n_prompt);
    Ok(Test {
        name: name("pp", args.n_prompt, args.depth),
        kind: Kind::Prefill,
        tokens_per_second: rates.split_off(1),
        work: Work {
            n_bytes: whole.n_bytes / n,
            flops: whole.flops / n,
        },
    })
}

async fn decode(session: &mut Session, args: &Args, global: &Global) -> Result<Test, Failure> {
    let bar = output::count_bar("decode", args.repeat as usize + 1);
    let options = |n: u32| GenerateOptions {
        // The first token belongs to the prefill.
        max_tokens: Some(n as usize + 1),
        sampler: Some(SamplerParams::greedy()),
        ignore_eos: true,
        ..Default::default()
    };
    let mut rates = vec![];
    // The first run makes the pipelines and is not counted.
    for run in 0..=args.repeat {
        fill(session, args.depth, global).await?;
        let mut prompt = session.tokens(0).to_vec();
        let ids = random_ids(session.engine(), global, u64::from(run) + 1, 1);
        prompt.extend(ids.iter().map(|(_, id)| id));
        let n = if run == 0 {
            args.n_gen.min(2)
        } else {
            args.n_gen
        };
        let made = session
            .generate(&prompt, &options(n), &mut |_| ControlFlow::Continue(()))
            .await?;
        rates.push(made.decode_tps());
        bar.inc(1);
    }
    bar.finish_and_clear();
    // The token in the middle stands for all.
    let step = step(session, global, 1, args.depth + args.n_gen / 2);
    Ok(Test {
        name: name("tg", args.n_gen, args.depth),
        kind: Kind::Decode,
        tokens_per_second: rates.split_off(1),
        work: step.work(&step.plan().dispatches.iter().collect::<Vec<_>>()),
    })
}

/// Times the kernels of the step that `n_rows` tokens behind `depth` others take.
async fn profile(
    session: &mut Session,
    args: &Args,
    global: &Global,
    kind: &str,
    n_rows: u32,
) -> Result<kernels::Breakdown, Failure> {
    fill(session, args.depth, global).await?;
    let engine = session.engine().clone();
    let ids: Vec<u32> = random_ids(&engine, global, 1, n_rows)
        .iter()
        .map(|&(_, id)| id)
        .collect();
    let step = step(session, global, n_rows, args.depth);
    let name = name(kind, n_rows, args.depth);
    kernels::profile(session, &step, name, &ids, args.repeat).await
}

fn step(session: &Session, global: &Global, n_rows: u32, depth: u32) -> Step {
    Step {
        engine: session.engine().clone(),
        cache: global.kv,
        n_rows,
        depth,
        all_full: session.is_all_full(),
    }
}

/// Leaves `depth` tokens in the cache, the same in every run.
async fn fill(session: &mut Session, depth: u32, global: &Global) -> Result<(), Failure> {
    session.truncate(0, depth as usize);
    if session.tokens(0).len() < depth as usize {
        session.truncate(0, 0);
        let ids = random_ids(session.engine(), global, 0, depth);
        session.forward(&ids, &[]).await?;
    }
    Ok(())
}

fn name(test: &str, n: u32, depth: u32) -> String {
    let depth = if depth > 0 {
        format!(" @ d{depth}")
    } else {
        String::new()
    };
    format!("{test}{n}{depth}")
}

/// Tokens of the first sequence, from a xorshift generator.
fn random_ids(engine: &Engine, global: &Global, stream: u64, n: u32) -> Vec<(u32, u32)> {
    let vocab_size = u64::from(engine.config().vocab_size);
    let mut state = (global.seed.unwrap_or(0) ^ (stream << 32))
        .wrapping_mul(2)
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // The first words of a seed with few bits have few bits too.
    (0..8).for_each(|_| {
        next();
    });
    (0..n)
        .map(|_| (0, ((next() >> 16) % vocab_size) as u32))
        .collect()
}
