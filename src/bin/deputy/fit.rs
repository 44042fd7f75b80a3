//! `deputy fit`: makes the sidecar that lets each token take its own path.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use deputy::fit::{self, Basis, FitOptions, FitProgress, Fitted, Lora, Stage, Text};
use deputy::graph::CacheMode;
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::{model, output};

/// Makes low-rank branches and routers for a model from a text: its sidecar.
///
/// The text should be of the kind that the model is used for; some tens of thousands of tokens do.
/// Nothing is trained, and the model's files stay as they are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy fit path/to/model --calib stories.txt -o path/to/model
  deputy fit path/to/model --calib a.txt --calib b.txt -o out --rank 0.125 --allocate

Writes deputy.json and deputy.safetensors into the folder OUT. Beside the model they are found there.")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: PathBuf,
    /// A text to learn from; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    calib: Vec<PathBuf>,
    /// The folder to write to
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Ranks in parts of the smaller side of each matrix
    #[arg(long, value_name = "PART", default_value_t = FitOptions::default().rank)]
    rank: f64,
    /// Give each matrix its own rank: what equal ones cost, where it lowers the error most
    #[arg(long)]
    allocate: bool,
    /// Take the column spaces from this LoRA adapter (PEFT); MODEL is what it was merged into
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
}

#[derive(Clone, Copy, ValueEnum)]
enum Router {
    /// From the normed residual stream, by regression.
    Linear,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let Router::Linear = args.router;
    // Without a slash at its end, behind which names would be put.
    let out: PathBuf = args.out.components().collect();
    // A fit may take hours: what cannot be written is said before.
    if out.exists() && !out.is_dir() {
        return Err(Failure::Option {
            option: "-o",
            expected: "a folder".to_owned(),
            found: out.display().to_string(),
        });
    }
    let mut options = FitOptions {
        rank: args.rank,
        allocate: args.allocate,
        n_tokens: args.tokens,
        dense_layers: args.dense_layers,
        lora: args.lora.as_deref().map(Lora::open).transpose()?,
        ..Default::default()
    };
    if args.plain_svd {
        options.basis = Basis::Plain;
    }
    let mut texts = vec![];
    for path in &args.calib {
        let text = fs::read_to_string(path).map_err(|cause| Failure::io(path, cause))?;
        texts.push((model::short_name(&path.display().to_string()), text));
    }
    let texts: Vec<Text<'_>> = texts
        .iter()
        .map(|(name, text)| Text { name, text })
        .collect();
    let engine = model::load(&args.model, global).await?;
    if let Some(memory) = global.memory {
        options.memory = memory.saturating_sub(engine.footprint().total());
    }
    let bar = output::count_bar("fitting", 0);
    let mut on_progress = |progress: FitProgress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(match progress.stage {
            Stage::Moments => "pieces of text, for the factors",
            Stage::Factors => "matrices factored",
            Stage::Router => "pieces of text, for the router",
        });
    };
    let fitted = fit::fit(&engine, &texts, &options, &mut on_progress).await;
    bar.finish_and_clear();
    let fitted = fitted?;
    let unfinished = Unfinished::new(&out);
    let written = fit::write(&fitted, engine.config(), CacheMode::Dense, &out);
    drop(unfinished);
    written?;
    if global.json {
        return output::print_json(&report_json(&out, &fitted));
    }
    output::print(&report(&fitted))?;
    output::remark(&format!(
        "deputy.json and deputy.safetensors written to {}, from {}",
        out.display(),
        output::number(fitted.report.n_tokens, "token"),
    ));
    Ok(())
}

fn report(fitted: &Fitted) -> String {
    let part = |value: f64| format!("{value:.4}");
    let heading = |cells: &[&str]| -> Vec<String> { cells.iter().map(|&c| c.to_owned()).collect() };
    let mut linears = vec![heading(&["matrix", "shape", "rank", "captured", "error"])];
    linears.extend(fitted.report.linears.iter().map(|linear| {
        vec![
            format!("layers.{}.{}", linear.layer, linear.linear.name()),
            format!("{} x {}", linear.shape[0], linear.shape[1]),
            linear.rank.to_string(),
            part(linear.captured),
            part(linear.output_error),
        ]
    }));
    let branches = ["attention", "ffn low", "ffn skip"];
    let mut routers = vec![heading(&["router"])];
    routers[0].extend(branches.map(|branch| format!("R² {branch}")));
    routers[0].extend(branches.map(|branch| format!("error {branch}")));
    routers.extend(fitted.report.routers.iter().map(|router| {
        let mut line = vec![format!("layers.{}", router.layer)];
        line.extend(router.r2.iter().chain(&router.error).map(|&v| part(v)));
        line
    }));
    let mut efforts = vec![heading(&["effort", "offset", "compute"])];
    efforts.extend(fitted.effort.iter().map(|offset| {
        vec![
            format!("{:.1}", offset.effort),
            format!("{:.3}", offset.ffn),
            format!("{:.3}", offset.share),
        ]
    }));
    [linears, routers, efforts]
        .map(|lines| output::table(&lines))
        .join("\n")
}

fn report_json(out: &Path, fitted: &Fitted) -> serde_json::Value {
    let linears = fitted.report.linears.iter().map(|linear| {
        json!({
            "layer": linear.layer,
            "linear": linear.linear.name(),
            "rank": linear.rank,
            "captured": linear.captured,
            "output_error": linear.output_error,
        })
    });
    let routers = fitted
        .report
        .routers
        .iter()
        .map(|router| json!({"layer": router.layer, "r2": router.r2, "error": router.error}));
    let efforts = fitted.effort.iter().map(|offset| {
        json!({
            "effort": offset.effort,
            "attention": offset.attention,
            "ffn": offset.ffn,
            "compute": offset.share,
        })
    });
    json!({
        "out": out,
        "tokens": fitted.report.n_tokens,
        "linears": linears.collect::<Vec<_>>(),
        "routers": routers.collect::<Vec<_>>(),
        "efforts": efforts.collect::<Vec<_>>(),
    })
}
