//! `deputy logits`: what a model computes, position by position.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use deputy::file::{Declaration, SafetensorsWriter};
use deputy::tensor::DType;
use deputy::{Session, SessionOptions};
use serde_json::json;

use crate::args::{self, Global};
use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::model::Given;
use crate::{interrupt, model, output};

/// Computes the logits of every position of a list of tokens.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy logits model.gguf --ids 1,403,407 --top 5
  deputy logits path/to/model --ids 1,2,3 --out logits.safetensors

--out writes the f32 tensor `logits` [n, vocab_size]; \
--json gives the last position's as {\"top\": [[id, logit], ...]}.")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// The tokens
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = args::id, required = true)]
    ids: Vec<u32>,
    /// Write the logits of all positions to this safetensors file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How many of the last position's largest logits to print
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
}

/// Bytes of logits in host memory at a time, about.
const PIECE: usize = 64 << 20;

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let engine = args.model.load("logits --ids 1,2,3", global).await?;
    if args.ids.len() > engine.n_ctx() as usize {
        return Err(Failure::Engine(deputy::Error::PromptTooLong {
            found: args.ids.len(),
            limit: engine.n_ctx(),
        }));
    }
    let options = SessionOptions {
        all_logits: args.out.is_some(),
        ..Default::default()
    };
    let mut session = model::session(&engine, options, global).await?;
    let last = match &args.out {
        Some(out) => {
            let unfinished = Unfinished::new(out);
            let written = write_all(&mut session, &args.ids, out, &unfinished.path).await;
            if written.is_err() {
                interrupt::remove(&unfinished.path);
            }
            written?
        }
        None => {
            let tokens: Vec<(u32, u32)> = args.ids.iter().map(|&id| (0, id)).collect();
            session
                .forward(&tokens, &[args.ids.len() as u32 - 1])
                .await?
        }
    };
    let mut order: Vec<u32> = (0..last.len() as u32).collect();
    order.sort_by(|&a, &b| last[b as usize].total_cmp(&last[a as usize]));
    order.truncate(args.top);
    if global.json {
        let top: Vec<_> = order
            .iter()
            .map(|&id| json!([id, last[id as usize]]))
            .collect();
        return output::print_json(&json!({ "top": top }));
    }
    let tokenizer = engine.tokenizer().ok();
    let text = |id: u32| {
        tokenizer
            .and_then(|t| t.token_text(id))
            .map(|text| format!("{text:?}"))
    };
    let mut lines = vec![["id", "logit", "token"].map(str::to_owned).to_vec()];
    lines.extend(order.iter().map(|&id| {
        let logit = format!("{:.5}", last[id as usize]);
        vec![id.to_string(), logit, text(id).unwrap_or_default()]
    }));
    output::print(&output::table(&lines))
}

/// Writes the logits of all positions, some at a time; returns the last one's.
async fn write_all(
    session: &mut Session,
    ids: &[u32],
    out: &Path,
    partial: &Path,
) -> Result<Vec<f32>, Failure> {
    let vocab_size = session.engine().config().vocab_size as usize;
    let file = File::create(partial).map_err(|cause| Failure::io(partial, cause))?;
    let logits = Declaration {
        name: "logits".to_owned(),
        dtype: DType::F32,
        shape: [ids.len(), vocab_size].into(),
    };
    let name = out.display().to_string();
    let mut writer =
        SafetensorsWriter::new(&name, BufWriter::new(file), &BTreeMap::new(), &[logits])?;
    let mut last = vec![];
    let bar = output::count_bar("computing", ids.len());
    for ids in ids.chunks((PIECE / (4 * vocab_size)).max(1)) {
        let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
        let all: Vec<u32> = (0..ids.len() as u32).collect();
        let logits = session.forward(&tokens, &all).await?;
        writer.write("logits", &little_endian(&logits))?;
        last = logits[logits.len() - vocab_size..].to_vec();
        bar.inc(ids.len() as u64);
    }
    bar.finish_and_clear();
    let mut file = writer.finish()?;
    file.flush().map_err(|cause| Failure::io(partial, cause))?;
    fs::rename(partial, out).map_err(|cause| Failure::io(out, cause))?;
    Ok(last)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
