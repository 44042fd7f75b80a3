//! `deputy flatten`: writes a model whose prefill multiplies integers.

use std::path::PathBuf;

use deputy::file::ModelFile;
use deputy::fit::{self, FitProgress, FlattenOptions, FlattenReport, Stage, Text};
use deputy::kernels::linear::Activations;
use deputy::{LoadOptions, WeightFormat};
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::{model, output, text};

/// Writes a model whose prefill multiplies integers: FlattenQuant, from a calibration text.
///
/// Large columns of what the linears read are spread over several, so that one scale suits all of them;
/// weights become 8 or 4 bits with one scale. Batches and prompts then go through products of integers,
/// single tokens through the same weights as any other q8 and q4.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy flatten path/to/model --calib stories.txt -o path/to/model-flat
  deputy flatten path/to/model --calib a.txt --calib b.txt -o model-int8 --int4-share 0

The text should be of the kind that the model is used for; some tens of thousands of tokens do. What is written is
a model like any other (see docs/flatten.md); a sidecar goes along. An interrupted run leaves nothing at OUT.
--activations f32 runs the flattened model without integers, to compare.")]
pub(crate) struct Args {
    /// A Hugging Face folder or a .gguf file
    model: PathBuf,
    /// A text to learn from; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    calib: Vec<PathBuf>,
    /// What to write; must not exist yet
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Part of the linears' multiply-adds whose weights get 4 bits instead of 8
    #[arg(long, value_name = "PART", default_value_t = FlattenOptions::default().int4_share)]
    int4_share: f64,
    /// How much of the columns' differences is moved from activations to weights, 0 to 1
    #[arg(
        long,
        value_name = "A",
        default_value_t = 0.5,
        conflicts_with = "no_smooth"
    )]
    alpha: f64,
    /// Columns with their copies at most, in parts of those without
    #[arg(long, value_name = "X", default_value_t = FlattenOptions::default().max_expansion)]
    max_expansion: f64,
    /// Tokens of the texts to learn from, at most
    #[arg(long, value_name = "N", default_value_t = FlattenOptions::default().n_tokens)]
    tokens: usize,
    /// One scale for the activations of all tokens, from the text, in place of one for each token
    #[arg(long)]
    static_scales: bool,
    /// A scale for each output of a weight in place of one for all of it
    #[arg(long)]
    output_scales: bool,
    /// Take a model whose weights are quantised already: its errors add up
    #[arg(long)]
    requantize: bool,
    /// Leave the norms as they are, for comparison
    #[arg(long)]
    no_smooth: bool,
    /// Round each weight to the nearest integer, for comparison
    #[arg(long)]
    no_gptq: bool,
    /// Make no copies: the largest value makes the scale, for comparison
    #[arg(long)]
    no_copies: bool,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    // The calibration may take an hour: what cannot be is said before.
    if args.out.exists() {
        return Err(Failure::Option {
            option: "-o",
            expected: "a name that does not exist yet".to_owned(),
            found: args.out.display().to_string(),
        });
    }
    let mut texts = vec![];
    for path in &args.calib {
        let name = model::short_name(&path.display().to_string());
        texts.push((name, text::read(path)?));
    }
    let texts: Vec<Text<'_>> = texts
        .iter()
        .map(|(name, text)| Text { name, text })
        .collect();
    let options = FlattenOptions {
        int4_share: args.int4_share,
        alpha: (!args.no_smooth).then_some(args.alpha),
        max_expansion: args.max_expansion,
        copies: !args.no_copies,
        gptq: !args.no_gptq,
        row_scales: !args.static_scales,
        output_scales: args.output_scales,
        requantize: args.requantize,
        n_tokens: args.tokens,
        ..Default::default()
    };
    let load = LoadOptions {
        dense: true,
        weights: WeightFormat::Auto,
        activations: Activations::F32,
        ..global.load_options()
    };
    let file = ModelFile::open_path(&args.model).await?;
    let engine = model::load_file(file, load).await?;
    let bar = output::count_bar("flattening", 0);
    let flattened = fit::flatten(&engine, &texts, &options, &mut |progress: FitProgress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(match progress.stage {
            Stage::Rounded => "layers rounded",
            _ => "pieces of text",
        });
    })
    .await;
    bar.finish_and_clear();
    let flattened = flattened?;
    let bar = output::byte_bar("writing");
    let unfinished = Unfinished::new(&args.out);
    let written = flattened
        .write(&engine, &args.out, &mut |progress| {
            output::show(&bar, progress)
        })
        .await;
    drop(unfinished);
    bar.finish_and_clear();
    written?;
    let report = &flattened.report;
    if global.json {
        return output::print_json(&as_json(args, report));
    }
    output::print(&as_text(report))?;
    output::remark(&format!(
        "{} written, from {}: {:.1} % of the multiply-adds with 4-bit weights, {:.3} times the columns",
        args.out.display(),
        output::number(report.n_tokens, "token"),
        100.0 * report.int4_share(),
        report.expansion(),
    ));
    Ok(())
}

/// A line a layer: the expansion of its inputs, bits and error of its linears.
fn as_text(report: &FlattenReport) -> String {
    let mut lines = vec![];
    for input in &report.inputs {
        let linears = report.linears.iter().filter(|linear| {
            linear.layer == input.layer && linear.linear.flat_input() == input.input
        });
        let bits: Vec<String> = linears
            .map(|linear| {
                let percent = 100.0 * linear.output_error.sqrt();
                format!(
                    "{} {} bits {percent:.2} %",
                    linear.linear.name(),
                    linear.bits
                )
            })
            .collect();
        lines.push(vec![
            format!("layer {} {}", input.layer, input.input.name()),
            format!("{} columns", input.cols),
            format!("x{:.3}", input.n_columns as f64 / input.cols as f64),
            bits.join(", "),
        ]);
    }
    output::table(&lines)
}

fn as_json(args: &Args, report: &FlattenReport) -> Value {
    let inputs = report.inputs.iter().map(|input| {
        json!({
            "layer": input.layer, "input": input.input.name(), "cols": input.cols,
            "columns": input.n_columns, "cap": input.cap, "most": input.most,
        })
    });
    let linears = report.linears.iter().map(|linear| {
        json!({
            "layer": linear.layer, "linear": linear.linear.name(), "shape": linear.shape,
            "bits": linear.bits, "output_error": linear.output_error,
        })
    });
    json!({
        "out": args.out, "tokens": report.n_tokens, "int4_share": report.int4_share(),
        "expansion": report.expansion(), "inputs": inputs.collect::<Vec<_>>(),
        "linears": linears.collect::<Vec<_>>(),
    })
}
