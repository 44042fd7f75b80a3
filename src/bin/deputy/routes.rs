//! `deputy routes`: the path that each token of a text takes.

mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use deputy::{Branch, Engine, LayerBranches, SessionOptions};
use serde_json::json;

use crate::args::{self, Global};
use crate::failure::Failure;
use crate::interrupt::Unfinished;
use crate::model::Given;
use crate::{interrupt, model, output, text};

/// Shows the path that each token of a text takes through the layers.
///
/// A line for each token, two letters for each layer: its attention, then its FFN; f is full, l low-rank and s
/// skipped. --effort and --routes decide as they do elsewhere.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy routes path/to/model -p 'Once upon a time' --effort 0.3
  deputy routes path/to/model -p - --svg routes.svg < story.txt

--json gives {\"tokens\": [{\"id\", \"text\", \"layers\": [\"ff\", \"ls\", ...]}, ...], \"routes\": {...}}.")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// The text; - reads standard input
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "prompt_ids"
    )]
    prompt: Option<String>,
    /// The tokens, instead of a text
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = args::id, conflicts_with = "prompt")]
    prompt_ids: Vec<u32>,
    /// Control tokens in the text are plain text
    #[arg(long)]
    plain: bool,
    /// Draw the paths into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A token and its path.
struct Token {
    id: u32,
    /// As it reads in a text, quoted; without a tokenizer its id.
    text: String,
    /// By layer; full where a layer has no router.
    path: Vec<LayerBranches>,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    let engine = args.model.load("routes -p TEXT", global).await?;
    if !engine.model().graph.is_routed() {
        return Err(Failure::NoRouters {
            model: engine.name().to_owned(),
            dense: global.dense,
        });
    }
    let prompt = match args.prompt.as_deref() {
        None => args.prompt_ids.clone(),
        Some("-") => engine.encode_prompt(&text::read(Path::new("-"))?, !args.plain)?,
        Some(text) => engine.encode_prompt(text, !args.plain)?,
    };
    if prompt.is_empty() {
        return Err(Failure::Engine(deputy::Error::EmptyPrompt));
    }
    let mut session = model::session(&engine, SessionOptions::default(), global).await?;
    let rows: Vec<(u32, u32)> = prompt.iter().map(|&id| (0, id)).collect();
    session.forward(&rows, &[]).await?;
    // There are routers: there are routes.
    let taken = session.taken_routes(0).await?.unwrap_or_default();
    let of_layer =
        |at: usize| move |layer: &Vec<LayerBranches>| layer.get(at).copied().unwrap_or_default();
    let token = |(at, &id): (usize, &u32)| Token {
        id,
        text: quoted(&engine, id),
        path: taken.layers.iter().map(of_layer(at)).collect(),
    };
    let tokens: Vec<Token> = prompt.iter().enumerate().map(token).collect();
    if let Some(out) = &args.svg {
        write_whole(out, &svg::draw(&tokens))?;
    }
    if global.json {
        let tokens = tokens.iter().map(|token| {
            let layers: Vec<String> = token.path.iter().map(letters).collect();
            json!({"id": token.id, "text": token_text(&engine, token.id), "layers": layers})
        });
        let routes = output::routes_json(&taken);
        output::print_json(&json!({"tokens": tokens.collect::<Vec<_>>(), "routes": routes}))?;
    } else {
        output::print(&table(&tokens))?;
    }
    output::remark(&output::routes(&taken));
    Ok(())
}

/// `fl`: a full attention and a low-rank FFN.
fn letters(branches: &LayerBranches) -> String {
    let letter = |branch| match branch {
        Branch::Full => 'f',
        Branch::Low => 'l',
        Branch::Skipped => 's',
    };
    [letter(branches.attention), letter(branches.ffn)]
        .iter()
        .collect()
}

/// The numbers of the layers above their letters, no wider than they must be.
fn table(tokens: &[Token]) -> String {
    let n_layers = tokens.first().map_or(0, |token| token.path.len());
    let text_width = |token: &Token| token.text.chars().count();
    let first = tokens.iter().map(text_width).max().unwrap_or(0).max(5);
    let width = n_layers.saturating_sub(1).to_string().len().max(2);
    let line = |head: &str, cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
        format!("{head:first$} {}\n", cells.join(" "))
    };
    let mut lines = vec![line(
        "token",
        (0..n_layers).map(|n| n.to_string()).collect(),
    )];
    lines.extend(
        tokens
            .iter()
            .map(|token| line(&token.text, token.path.iter().map(letters).collect())),
    );
    lines.concat()
}

/// What a token reads in a text; a piece of a character is replaced.
fn token_text(engine: &Engine, id: u32) -> String {
    let tokenizer = engine.tokenizer().ok();
    let bytes = tokenizer.and_then(|tokenizer| tokenizer.token_bytes(id));
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

fn quoted(engine: &Engine, id: u32) -> String {
    match engine.tokenizer() {
        Ok(_) => format!("{:?}", token_text(engine, id)),
        Err(_) => id.to_string(),
    }
}

/// Writes a file whole or not at all.
fn write_whole(out: &Path, text: &str) -> Result<(), Failure> {
    let unfinished = Unfinished::new(out);
    let written = fs::write(&unfinished.path, text)
        .map_err(|cause| Failure::io(&unfinished.path, cause))
        .and_then(|()| fs::rename(&unfinished.path, out).map_err(|cause| Failure::io(out, cause)));
    if written.is_err() {
        interrupt::remove(&unfinished.path);
    }
    written
}
