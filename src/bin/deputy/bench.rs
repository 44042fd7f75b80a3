//! `deputy bench`: how fast a model runs, and how near that is to the device's limit.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use deputy::kernels::Call;
use deputy::plan::{Buffer, Plan, Settings, Size, lower};
use deputy::sampler::SamplerParams;
use deputy::{Engine, GenerateOptions, Session, SessionOptions};
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::{model, output};

/// Measures prefill and decode on random tokens.
///
/// GB/s counts what a decoded token must read: every weight that it uses and the cache before it.
/// The bandwidth that it is compared with is that of a copy on the same device in the same run,
/// bytes read and bytes written together.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy bench path/to/model
  deputy bench model.gguf --weights q4 -p 512 -n 128 -d 4096 -o csv")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: Option<PathBuf>,
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
    let path = model::path(&args.model, "bench")?;
    let n_ctx = args
        .depth
        .saturating_add(args.n_prompt.max(args.n_gen + 1))
        .max(1);
    let engine = model::load_with(path, global, Some(global.ctx.unwrap_or(n_ctx))).await?;
    if n_ctx > engine.n_ctx() {
        return Err(Failure::Option {
            option: "--ctx",
            expected: format!("at least {n_ctx} positions for these -p, -n and -d"),
            found: engine.n_ctx().to_string(),
        });
    }
    let mut session = model::session(&engine, SessionOptions::default()).await?;
    let mut tests = vec![];
    if args.n_prompt > 0 {
        tests.push(prefill(&mut session, args, global).await?);
    }
    if args.n_gen > 0 {
        tests.push(decode(&mut session, args, global).await?);
    }
    drop(session);
    let report = Report::new(&engine, global, tests).await?;
    match args.output {
        _ if global.json => output::print_json(&report.json()),
        Format::Json => output::print_json(&report.json()),
        Format::Md => output::print(&report.markdown()),
        Format::Csv => output::print(&report.csv()),
    }
}

/// What one kind of run gave.
struct Test {
    name: String,
    tokens_per_second: Vec<f64>,
    /// Bytes that a token reads, of a decode.
    bytes_per_token: Option<u64>,
}

async fn prefill(session: &mut Session, args: &Args, global: &Global) -> Result<Test, Failure> {
    let bar = output::count_bar("prefill", args.repeat as usize + 1);
    let mut rates = vec![];
    // The first run makes the pipelines and is not counted.
    for run in 0..=args.repeat {
        fill(session, args.depth, global).await?;
        let ids = random_ids(session.engine(), global, u64::from(run) + 1, args.n_prompt);
        let last = ids.len() as u32 - 1;
        let start = Instant::now();
        session.forward(&ids, &[last]).await?;
        rates.push(f64::from(args.n_prompt) / start.elapsed().as_secs_f64());
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Test {
        name: name("pp", args.n_prompt, args.depth),
        tokens_per_second: rates.split_off(1),
        bytes_per_token: None,
    })
}

async fn decode(session: &mut Session, args: &Args, global: &Global) -> Result<Test, Failure> {
    let bar = output::count_bar("decode", args.repeat as usize + 1);
    let options = |n: u32| GenerateOptions {
        // The first token belongs to the prefill.
        max_tokens: Some(n as usize + 1),
        sampler: SamplerParams::greedy(),
        ignore_eos: true,
        ..Default::default()
    };
    let mut rates = vec![];
    for run in 0..=args.repeat {
        fill(session, args.depth, global).await?;
        let mut prompt = session.tokens(0).to_vec();
        prompt.extend(
            random_ids(session.engine(), global, u64::from(run) + 1, 1)
                .iter()
                .map(|(_, id)| id),
        );
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
    let engine = session.engine();
    let (plan, settings) = decode_plan(engine, global);
    let read = weight_bytes(engine, &plan)
        + cache_bytes(&plan, &settings, args.depth + 1 + args.n_gen / 2);
    Ok(Test {
        name: name("tg", args.n_gen, args.depth),
        tokens_per_second: rates.split_off(1),
        bytes_per_token: Some(read),
    })
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

/// The plan of a decoded token.
fn decode_plan(engine: &Engine, global: &Global) -> (Plan, Settings) {
    let settings = Settings {
        n_ctx: engine.n_ctx(),
        n_sequences: 1,
        cache: global.kv,
    };
    let size = Size {
        rows: 1,
        n_out: 1,
        sample: true,
    };
    (
        lower(&engine.model().graph, engine.layouts(), &settings, size),
        settings,
    )
}

/// Bytes of the weights that a plan reads whole; of an embedding it reads a row a token.
fn weight_bytes(engine: &Engine, plan: &Plan) -> u64 {
    let mut ids: Vec<usize> = vec![];
    for dispatch in plan
        .dispatches
        .iter()
        .filter(|dispatch| !matches!(dispatch.call, Call::Embed(..)))
    {
        ids.extend(
            dispatch
                .bindings
                .iter()
                .filter_map(|(_, buffer)| match buffer {
                    Buffer::Weight { id, .. } => Some(id.0 as usize),
                    _ => None,
                }),
        );
    }
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| engine.layouts()[id].n_bytes())
        .sum()
}

/// Bytes of the cache that attention over `n` positions reads.
fn cache_bytes(plan: &Plan, settings: &Settings, n: u32) -> u64 {
    let layer = |call: &Call| match call {
        Call::Attention(_, p) => {
            let elements = u64::from(n.min(p.window)) * u64::from(p.n_kv_heads * p.head_dim);
            2 * elements * settings.cache.n_bytes() as u64
        }
        _ => 0,
    };
    plan.dispatches
        .iter()
        .map(|dispatch| layer(&dispatch.call))
        .sum()
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

/// Everything that is printed.
struct Report {
    model: String,
    weights: String,
    kv: &'static str,
    device: String,
    n_bytes: u64,
    n_params: u64,
    copy_bandwidth: f64,
    n_dispatches: usize,
    peak_memory: Option<u64>,
    tests: Vec<Test>,
}

impl Report {
    async fn new(engine: &Engine, global: &Global, tests: Vec<Test>) -> Result<Self, Failure> {
        // Before the copy, whose buffers are not the model's.
        let peak_memory = peak_memory();
        let layouts = engine.layouts();
        Ok(Self {
            model: model::short_name(engine.name()),
            weights: weights(engine),
            kv: global.kv.name(),
            device: engine.device(),
            n_bytes: layouts.iter().map(|layout| layout.n_bytes()).sum(),
            n_params: layouts
                .iter()
                .map(|layout| u64::from(layout.rows) * u64::from(layout.cols))
                .sum(),
            copy_bandwidth: engine.copy_bandwidth().await?,
            n_dispatches: decode_plan(engine, global).0.dispatches.len(),
            peak_memory,
            tests,
        })
    }

    fn markdown(&self) -> String {
        let heading = [
            "model", "size", "params", "device", "weights", "kv", "test", "t/s", "GB/s", "of copy",
        ];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for test in &self.tests {
            let gigabytes = self.gigabytes(test);
            lines.push(vec![
                self.model.clone(),
                output::bytes(self.n_bytes),
                output::count(self.n_params),
                self.device.clone(),
                self.weights.clone(),
                self.kv.to_owned(),
                test.name.clone(),
                format!("{:.2} ± {:.2}", test.mean(), test.deviation()),
                gigabytes.map_or(String::new(), |n| format!("{n:.2}")),
                gigabytes.map_or(String::new(), |n| {
                    format!("{:.1} %", 100.0 * n / self.copy_gigabytes())
                }),
            ]);
        }
        let widths: Vec<usize> = (0..heading.len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let row = |line: &Vec<String>| -> String {
            let cells = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!(" {cell:width$} |"));
            format!("|{}\n", cells.collect::<String>())
        };
        let rule: String = widths
            .iter()
            .map(|width| format!("{}|", "-".repeat(width + 2)))
            .collect();
        let mut text = format!("{}|{rule}\n", row(&lines[0]));
        text.extend(lines[1..].iter().map(row));
        let memory = self.peak_memory.map_or(String::new(), |n| {
            format!(", peak memory {}", output::bytes(n))
        });
        text += &format!(
            "\ncopy bandwidth {:.2} GB/s, {} dispatches a token{memory}\n",
            self.copy_gigabytes(),
            self.n_dispatches
        );
        text
    }

    fn json(&self) -> Value {
        let test = |test: &Test| {
            let gigabytes = self.gigabytes(test);
            json!({
                "test": test.name,
                "tps": test.mean(),
                "tps_sd": test.deviation(),
                "runs": test.tokens_per_second,
                "bytes_per_token": test.bytes_per_token,
                "gb_s": gigabytes,
                "copy_fraction": gigabytes.map(|n| n / self.copy_gigabytes()),
            })
        };
        json!({
            "model": self.model,
            "device": self.device,
            "weights": self.weights,
            "kv": self.kv,
            "size": self.n_bytes,
            "params": self.n_params,
            "copy_gb_s": self.copy_gigabytes(),
            "dispatches_per_token": self.n_dispatches,
            "peak_memory": self.peak_memory,
            "tests": self.tests.iter().map(test).collect::<Vec<_>>(),
        })
    }

    fn csv(&self) -> String {
        let mut text = "model,size,params,device,weights,kv,test,tps,tps_sd,gb_s,copy_gb_s,dispatches_per_token,peak_memory\n".to_owned();
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        for test in &self.tests {
            text += &format!(
                "{},{},{},{},{},{},{},{:.3},{:.3},{},{:.3},{},{}\n",
                quoted(&self.model),
                self.n_bytes,
                self.n_params,
                quoted(&self.device),
                self.weights,
                self.kv,
                test.name,
                test.mean(),
                test.deviation(),
                self.gigabytes(test)
                    .map_or(String::new(), |n| format!("{n:.3}")),
                self.copy_gigabytes(),
                self.n_dispatches,
                self.peak_memory.map_or(String::new(), |n| n.to_string()),
            );
        }
        text
    }

    /// Gigabytes a second that a test reads at least.
    fn gigabytes(&self, test: &Test) -> Option<f64> {
        Some(test.bytes_per_token? as f64 * test.mean() / 1e9)
    }

    fn copy_gigabytes(&self) -> f64 {
        self.copy_bandwidth / 1e9
    }
}

impl Test {
    fn mean(&self) -> f64 {
        self.tokens_per_second.iter().sum::<f64>() / self.tokens_per_second.len() as f64
    }

    /// Of the sample, as llama-bench gives it.
    fn deviation(&self) -> f64 {
        let n = self.tokens_per_second.len() as f64;
        let mean = self.mean();
        let squares: f64 = self
            .tokens_per_second
            .iter()
            .map(|rate| (rate - mean).powi(2))
            .sum();
        if n > 1.0 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        }
    }
}

/// The types of the matrices, that of most bytes first.
fn weights(engine: &Engine) -> String {
    let mut types: Vec<(u64, &str)> = vec![];
    let weights = engine.model().graph.weights().iter().zip(engine.layouts());
    for (_, layout) in weights.filter(|(weight, _)| !weight.is_vector) {
        let name = layout.dtype.name();
        match types.iter_mut().find(|(_, known)| *known == name) {
            Some((n_bytes, _)) => *n_bytes += layout.n_bytes(),
            None => types.push((layout.n_bytes(), name)),
        }
    }
    types.sort_unstable_by(|a, b| b.cmp(a));
    let names: Vec<&str> = types.iter().map(|(_, name)| *name).collect();
    names.join("+")
}

/// The most memory that the process has had, where the system says so.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
