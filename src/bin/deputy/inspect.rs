//! `deputy inspect`: what a model's files hold, and what it would need.

mod flat;
mod sidecar;

use std::collections::BTreeMap;

use deputy::branch::{Settings, Sidecar};
use deputy::file::{ElementType, Metadata, ModelFile, TensorInfo};
use deputy::model::{Config, Model, RopeScaling};
use deputy::plan::Footprint;
use deputy::tokenizer::Tokenizer;
use deputy::{LoadOptions, WeightFormat, footprint};
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::model::Given;
use crate::output;

/// Shows a model's configuration, tensors and memory needs without loading it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy inspect path/to/model
  deputy inspect model.gguf --ctx 32768 --tensors")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let file = args.model.open("inspect").await?;
    // A model that cannot be run is shown as far as that goes; then comes the error.
    let opened = match open(&args.model, global).await {
        Ok((model, branches)) => {
            let limit = model.config.n_ctx;
            if let Some(found) = global.ctx.filter(|&n_ctx| n_ctx > limit) {
                return Err(Failure::Engine(deputy::Error::Context { found, limit }));
            }
            Parts::new(&file, model, branches, global).await
        }
        Err(error) => Err(error),
    };
    if global.json {
        output::print_json(&as_json(args, &file, &opened))?;
    } else {
        output::print(&as_text(args, &file, &opened))?;
    }
    opened.map(|_| ())
}

/// A model with its branches, from files of its own: what they add is not among the model's tensors.
async fn open(given: &Given, global: &Global) -> Result<(Model, Option<Settings>), Failure> {
    let mut file = given.open("inspect").await?;
    Ok(deputy::open_model(&mut file, global.dense).await?)
}

/// What is known of a model that can be run.
struct Parts {
    model: Model,
    tokenizer: Option<Tokenizer>,
    has_template: bool,
    sidecar: Option<Sidecar>,
    n_ctx: u32,
    memory: Vec<(&'static str, Footprint)>,
}

impl Parts {
    async fn new(
        file: &ModelFile,
        model: Model,
        branches: Option<Settings>,
        global: &Global,
    ) -> Result<Self, Failure> {
        let tokenizer = deputy::tokenizer(file, model.config.vocab_size)?;
        let has_template = deputy::template(file)?.is_some();
        let sidecar = deputy::sidecar(file, &model.config).await?;
        let n_ctx = global
            .ctx
            .unwrap_or(model.config.n_ctx.min(deputy::DEFAULT_CTX));
        let options = LoadOptions {
            n_ctx: Some(n_ctx),
            cache_mode: global
                .cache
                .or(sidecar.as_ref().map(|sidecar| sidecar.settings.cache)),
            ..global.load_options()
        };
        let formats = [
            ("auto", WeightFormat::Auto),
            ("f32", WeightFormat::F32),
            ("f16", WeightFormat::F16),
            ("q8", WeightFormat::Q8),
            ("q4", WeightFormat::Q4),
        ];
        let needed = |(name, format): (_, WeightFormat)| {
            (
                name,
                footprint(&model, &format.layouts(&model, branches.as_ref()), &options),
            )
        };
        Ok(Self {
            memory: formats.map(needed).to_vec(),
            model,
            tokenizer,
            has_template,
            sidecar,
            n_ctx,
        })
    }
}

/// Number and bytes of the tensors of each type.
fn by_type(file: &ModelFile) -> BTreeMap<String, (usize, u64)> {
    let mut types = BTreeMap::new();
    for tensor in file.tensors.values() {
        let (n, n_bytes) = types.entry(tensor.dtype.to_string()).or_insert((0, 0));
        *n += 1;
        *n_bytes += tensor.n_bytes();
    }
    types
}

fn n_params(file: &ModelFile) -> u64 {
    let n = |tensor: &TensorInfo| tensor.shape.n_elements().unwrap_or(0) as u64;
    file.tensors.values().map(n).sum()
}

fn format_name(file: &ModelFile) -> String {
    match &file.metadata {
        Metadata::HuggingFace(_) => "Hugging Face".to_owned(),
        Metadata::Gguf(metadata) => format!("GGUF version {}", metadata.version),
    }
}

/// The configuration's fields in a readable order.
fn config_fields(config: &Config) -> Vec<(&'static str, Value)> {
    let rope_scaling = match config.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"type": "linear", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_n_ctx,
        } => json!({
            "type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_n_ctx": original_n_ctx,
        }),
    };
    let n_windowed = config.windows.iter().flatten().count();
    vec![
        ("architecture", json!(config.architecture.name)),
        ("n_layers", json!(config.n_layers)),
        ("dim", json!(config.dim)),
        ("ffn_dim", json!(config.ffn_dim)),
        ("n_heads", json!(config.n_heads)),
        ("n_kv_heads", json!(config.n_kv_heads)),
        ("head_dim", json!(config.head_dim)),
        ("vocab_size", json!(config.vocab_size)),
        ("n_ctx", json!(config.n_ctx)),
        ("norm_eps", json!(decimal(config.norm_eps))),
        ("rope_theta", json!(config.rope_theta)),
        ("rope_scaling", rope_scaling),
        (
            "sliding_window",
            json!(config.windows.iter().flatten().min()),
        ),
        ("n_windowed_layers", json!(n_windowed)),
        ("tied", json!(config.tied)),
        ("bos", json!(config.bos)),
        ("eos", json!(config.eos)),
    ]
}

/// The f64 that is written like `x`.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}

fn as_text(args: &Args, file: &ModelFile, opened: &Result<Parts, Failure>) -> String {
    let mut text = format!(
        "{}: {}, {} tensors, {} parameters\n",
        file.name,
        format_name(file),
        file.tensors.len(),
        output::count(n_params(file)),
    );
    if let Ok(parts) = opened {
        text.push('\n');
        let fields = config_fields(&parts.model.config).into_iter();
        let lines: Vec<Vec<String>> = fields
            .map(|(name, value)| vec![name.to_owned(), value.to_string()])
            .collect();
        text += &output::table(&lines);
        let tokenizer = match &parts.tokenizer {
            Some(tokenizer) => {
                let frame = if tokenizer.adds_bos() {
                    ", begins prompts with bos"
                } else {
                    ""
                };
                format!("{} tokens{frame}", tokenizer.n_tokens())
            }
            None => "none: only token ids go in and out".to_owned(),
        };
        let template = if parts.has_template {
            "yes"
        } else {
            "no: chat uses a plain one"
        };
        text += &format!("\ntokenizer      {tokenizer}\nchat template  {template}\n");
        text += &flat::as_text(&parts.model).unwrap_or_default();
        if let Some(found) = &parts.sidecar {
            text += &format!("\n{}", sidecar::as_text(found));
        }
    }
    let mut lines = vec![["tensors", "number", "bytes"].map(str::to_owned).to_vec()];
    for (name, (n, n_bytes)) in by_type(file) {
        lines.push(vec![name, n.to_string(), output::bytes(n_bytes)]);
    }
    text += &format!("\n{}", output::table(&lines));
    if let Ok(parts) = opened {
        text += &format!(
            "\nmemory on a device with {} positions of context (--ctx):\n",
            parts.n_ctx
        );
        let heading = ["--weights", "weights", "cache", "activations", "total"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for (name, needed) in &parts.memory {
            let numbers = [
                needed.weights,
                needed.cache,
                needed.activations,
                needed.total(),
            ];
            let cells = numbers.map(output::bytes);
            lines.push([&[(*name).to_owned()][..], &cells[..]].concat());
        }
        text += &output::table(&lines);
        if !parts.model.unused.is_empty() {
            text += &format!("\nnot used: {}\n", parts.model.unused.join(", "));
        }
    }
    if args.tensors {
        let line = |tensor: &TensorInfo| {
            vec![
                tensor.name.clone(),
                tensor.dtype.to_string(),
                tensor.shape.to_string(),
            ]
        };
        let lines: Vec<Vec<String>> = file.tensors.values().map(line).collect();
        text += &format!("\n{}", output::table(&lines));
    }
    text
}

fn as_json(args: &Args, file: &ModelFile, opened: &Result<Parts, Failure>) -> Value {
    let types: BTreeMap<String, Value> = by_type(file)
        .into_iter()
        .map(|(name, (n, n_bytes))| (name, json!({"tensors": n, "bytes": n_bytes})))
        .collect();
    let mut value = json!({
        "model": file.name,
        "format": format_name(file),
        "n_tensors": file.tensors.len(),
        "n_params": n_params(file),
        "types": types,
        "unsupported": opened.as_ref().err().map(ToString::to_string),
    });
    if let Ok(parts) = opened {
        let config: serde_json::Map<String, Value> = config_fields(&parts.model.config)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let memory: serde_json::Map<String, Value> = parts
            .memory
            .iter()
            .map(|(name, needed)| {
                let value = json!({
                    "weights": needed.weights, "cache": needed.cache,
                    "activations": needed.activations, "total": needed.total(),
                });
                ((*name).to_owned(), value)
            })
            .collect();
        let tokenizer = parts.tokenizer.as_ref();
        value["config"] = config.into();
        value["tokenizer"] = tokenizer.map_or(
            Value::Null,
            |t| json!({"n_tokens": t.n_tokens(), "adds_bos": t.adds_bos()}),
        );
        value["chat_template"] = parts.has_template.into();
        value["sidecar"] = parts.sidecar.as_ref().map_or(Value::Null, sidecar::as_json);
        value["flattened"] = flat::as_json(&parts.model);
        value["n_ctx"] = parts.n_ctx.into();
        value["memory"] = memory.into();
        value["unused"] = json!(parts.model.unused);
    }
    if args.tensors {
        let tensors = file.tensors.values().map(|tensor| {
            let dtype = match &tensor.dtype {
                ElementType::Known(dtype) => dtype.name().to_owned(),
                ElementType::Other(name) => name.clone(),
            };
            json!({"name": tensor.name, "dtype": dtype, "shape": tensor.shape.0, "bytes": tensor.n_bytes()})
        });
        value["tensors"] = tensors.collect();
    }
    value
}
