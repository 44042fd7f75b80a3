//! `deputy fit`: makes the sidecar that lets each token take its own path.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use deputy::branch::{Draft, Lora, ModelIdentity};
use deputy::file::{Beside, DirFolder, MemoryFolder, ModelFile};
use deputy::fit::{
    self, Basis, FitOptions, FitProgress, Fitted, Measured, Meter, Stage, Text, static_lists,
};
use deputy::model::Config;
use deputy::{Engine, LoadOptions, Routes, model_shape};

use crate::args::Global;
use crate::failure::Failure;
use crate::fit_report::{self, Efforts, Row};
use crate::interrupt::UnfinishedFiles;
use crate::{model, output, text};

/// Makes low-rank branches and routers for a model from a text: its sidecar.
///
/// The text should be of the kind that the model is used for; some tens of thousands of tokens do.
/// Nothing is trained, and the model's files stay as they are. What routing saves and costs is then
/// measured on text that nothing was learned from.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy fit path/to/model --calib stories.txt
  deputy fit model.gguf --calib a.txt --calib b.txt --eval c.txt --rank 0.125 --allocate
  deputy fit path/to/model --calib stories.txt -o elsewhere --baselines --json

Writes deputy.json and deputy.safetensors into the model's folder, or NAME.deputy.json and
NAME.deputy.safetensors beside NAME.gguf, where they are found; with -o into another folder. The files take
their names when they are whole: an interrupted run leaves no halves of a sidecar. One that is there already is
not used, but replaced.

Compute is the part of the layers' multiply-adds that runs.")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: PathBuf,
    /// A text to learn from; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    calib: Vec<PathBuf>,
    /// A text to measure on [default: the last tenth of each text to learn from, which is then not learned from]
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,
    /// The folder to write to [default: beside the model]
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Ranks in parts of the smaller side of each matrix
    #[arg(long, value_name = "PART", default_value_t = FitOptions::default().rank)]
    rank: f64,
    /// Give each matrix its own rank: what equal ones cost, where it lowers the error most
    #[arg(long)]
    allocate: bool,
    /// Take the column spaces from this LoRA adapter (PEFT). MODEL is what it was merged into: its weights are what
    /// the full branch computes and the low-rank one stands for
    #[arg(long, value_name = "DIR")]
    lora: Option<PathBuf>,
    /// Tokens of the texts to learn from, at most
    #[arg(long, value_name = "N", default_value_t = FitOptions::default().n_tokens)]
    tokens: usize,
    /// First layers that stay full [default: 2, at most a quarter of the layers]
    #[arg(long, value_name = "N")]
    dense_layers: Option<u32>,
    /// The kind of router
    #[arg(long, value_enum, default_value_t = Router::Linear)]
    router: Router,
    /// Choose the factors by the weights alone, without regard to the text; for comparison
    #[arg(long)]
    plain_svd: bool,
    /// Efforts to measure
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0,0.2,0.4,0.6,0.8,1"
    )]
    efforts: Vec<f32>,
    /// Measure beside the router, at the compute of each effort: random tokens, fixed layers, factors by the
    /// weights alone (a second fit)
    #[arg(long)]
    baselines: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Router {
    /// From the normed residual stream, by regression.
    Linear,
}

/// Static lists this much off the compute that was asked for are no match for a router.
const NEAR: f64 = 0.05;

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let Router::Linear = args.router;
    // A fit may take hours: what cannot be is said before.
    let out = args.out.as_ref().unwrap_or(&args.model);
    if args
        .out
        .as_ref()
        .is_some_and(|out| out.exists() && !out.is_dir())
    {
        return Err(Failure::Option {
            option: "-o",
            expected: "a folder".to_owned(),
            found: out.display().to_string(),
        });
    }
    if let Some(effort) = args.efforts.iter().find(|e| !(0.0..=1.0).contains(*e)) {
        return Err(Failure::Option {
            option: "--efforts",
            expected: "numbers from 0 to 1".to_owned(),
            found: effort.to_string(),
        });
    }
    let (calibration, eval) = texts(args)?;
    let texts: Vec<Text<'_>> = calibration
        .iter()
        .map(|(name, text)| Text { name, text })
        .collect();
    let file = ModelFile::open_path(&args.model).await?;
    let shape = model_shape(&Config::read(&file)?);
    let lora = match &args.lora {
        Some(folder) => Some(Lora::open(&DirFolder::new(folder), &shape).await?),
        None => None,
    };
    let identity = ModelIdentity::of(&file, shape).await?;
    let options = LoadOptions {
        dense: true,
        ..global.load_options()
    };
    let engine = model::load_file(file, options).await?;
    let mut meter = Meter::new(&engine, &eval).await?;
    let mut options = FitOptions {
        rank: args.rank,
        allocate: args.allocate,
        n_tokens: args.tokens,
        dense_layers: args.dense_layers,
        lora,
        ..Default::default()
    };
    if args.plain_svd {
        options.basis = Basis::Plain;
    }
    if let Some(memory) = global.memory {
        options.memory = memory.saturating_sub(engine.footprint().total());
    }
    let mode = global.cache.unwrap_or_default();
    let fitted = fit_model(&engine, &texts, &options).await?;
    let draft = fitted.draft(mode)?;
    let unfinished = UnfinishedFiles::new(Draft::partial_paths(out));
    let written = draft.write(&identity, out);
    drop(unfinished);
    written?;
    let plain = if args.baselines {
        options.basis = Basis::Plain;
        options.lora = None;
        let fitted = fit_model(&engine, &texts, &options).await?;
        Some(fitted.draft(mode)?)
    } else {
        None
    };
    let dense = meter.measure(&Routes::FULL).await?;
    let n_tokens = meter.n_tokens();
    // Their weights would be on the device twice.
    drop((meter, engine));
    let rows = measure(args, global, &identity, &draft, plain.as_ref(), &eval).await?;
    let efforts = Efforts {
        dense,
        rows,
        n_tokens,
    };
    let [json, tensors] = Draft::paths(out);
    if global.json {
        return output::print_json(&fit_report::json(&json, &fitted, &efforts));
    }
    output::print(&fit_report::text(&fitted, &efforts))?;
    output::remark(&format!(
        "{} and {} written, from {}; measured on {}",
        json.display(),
        tensors.display(),
        output::number(fitted.report.n_tokens, "token"),
        output::number(n_tokens, "token"),
    ));
    Ok(())
}

/// Names and contents of what is learned from, and the text that is measured on.
fn texts(args: &Args) -> Result<(Vec<(String, String)>, String), Failure> {
    let mut calibration = vec![];
    let mut held_out = String::new();
    for path in &args.calib {
        let text = fs::read_to_string(path).map_err(|cause| Failure::io(path, cause))?;
        let kept = if args.eval.is_none() {
            let (kept, rest) = fit::hold_out(&text);
            held_out.push_str(rest);
            kept.to_owned()
        } else {
            text
        };
        calibration.push((model::short_name(&path.display().to_string()), kept));
    }
    let eval = match &args.eval {
        Some(path) => text::read(path)?,
        None => held_out,
    };
    Ok((calibration, eval))
}

async fn fit_model(
    engine: &Engine,
    texts: &[Text<'_>],
    options: &FitOptions,
) -> Result<Fitted, Failure> {
    let bar = output::count_bar("fitting", 0);
    let mut on_progress = |progress: FitProgress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(match progress.stage {
            Stage::Moments => "pieces of text, for the factors",
            Stage::Factors => "matrices factored",
            Stage::Router | Stage::Rounded => "pieces of text, for the router",
        });
    };
    let fitted = fit::fit(engine, texts, options, &mut on_progress).await;
    bar.finish_and_clear();
    Ok(fitted?)
}

/// Measures each effort, with the baselines that were asked for.
async fn measure(
    args: &Args,
    global: &Global,
    identity: &ModelIdentity,
    draft: &Draft,
    plain: Option<&Draft>,
    eval: &str,
) -> Result<Vec<Row>, Failure> {
    let engine = routed(args, global, identity, draft).await?;
    let mut meter = Meter::new(&engine, eval).await?;
    let bar = output::count_bar("measuring", args.efforts.len());
    let mut rows = vec![];
    for &effort in &args.efforts {
        let routed = meter.measure(&Routes::Effort(effort)).await?;
        let (mut random, mut fixed) = (None, None);
        if args.baselines && effort < 1.0 {
            random = Some(meter.measure(&shares(&routed)).await?);
            fixed = best_list(&engine, &mut meter, routed.routes.compute).await?;
        }
        rows.push(Row {
            effort,
            routed,
            random,
            fixed,
            plain: None,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    drop((meter, engine));
    if let Some(plain) = plain {
        let engine = self::routed(args, global, identity, plain).await?;
        let mut meter = Meter::new(&engine, eval).await?;
        for row in rows.iter_mut().filter(|row| row.effort < 1.0) {
            row.plain = Some(meter.measure(&Routes::Effort(row.effort)).await?);
        }
    }
    Ok(rows)
}

/// The model with a sidecar that need not lie beside it.
async fn routed(
    args: &Args,
    global: &Global,
    identity: &ModelIdentity,
    draft: &Draft,
) -> Result<Engine, Failure> {
    let folder = MemoryFolder::new("fitted", draft.files(identity)?);
    let beside = Beside {
        folder: Arc::new(folder),
        stem: None,
    };
    let file = ModelFile::open_path(&args.model).await?.with_beside(beside);
    let options = LoadOptions {
        dense: false,
        ..global.load_options()
    };
    model::load_file(file, options).await
}

/// As many tokens on each branch, drawn at random.
fn shares(measured: &Measured) -> Routes {
    let routes = &measured.routes;
    Routes::Shares {
        attention_low: routes.attention_low as f32,
        ffn_low: routes.ffn_low as f32,
        // Two roundings may come to more than 1.
        ffn_skipped: (routes.ffn_skipped as f32).min(1.0 - routes.ffn_low as f32),
        seed: 0,
    }
}

/// The best of the static lists whose compute is near; the nearest where none is.
async fn best_list(
    engine: &Engine,
    meter: &mut Meter,
    compute: f64,
) -> Result<Option<Measured>, Failure> {
    let lists = static_lists(engine, compute);
    let distance = |share: f64| (share - compute).abs();
    let nearest = lists.iter().map(|&(_, share)| distance(share));
    let nearest = nearest.fold(f64::INFINITY, f64::min);
    let mut best: Option<Measured> = None;
    for (routes, share) in &lists {
        if distance(*share) > nearest.max(NEAR) {
            continue;
        }
        let found = meter.measure(routes).await?;
        if best
            .as_ref()
            .is_none_or(|best| found.perplexity < best.perplexity)
        {
            best = Some(found);
        }
    }
    Ok(best)
}
