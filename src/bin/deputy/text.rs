//! `deputy tokenize` and `deputy template`: what a model is given, without running it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use deputy::model::Config;
use deputy::tokenizer::{ChatTemplate, FALLBACK, Message, RenderOptions, Tokenizer, encode_chat};
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::model::Given;
use crate::output;

/// Prints the token ids of a text.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy tokenize model.gguf -p 'Hello world'
  deputy tokenize path/to/model -p '<|im_start|>user' --special --json

--json gives {\"ids\": [...]}.")]
pub(crate) struct TokenizeArgs {
    #[command(flatten)]
    model: Given,
    /// The text; - reads standard input
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Control tokens in the text become their ids
    #[arg(long)]
    special: bool,
    /// Add the tokens that the tokenizer sets around a prompt, as `deputy generate` does
    #[arg(long)]
    bos: bool,
    /// Print a line for each token: its id and its text
    #[arg(long)]
    pieces: bool,
}

pub(crate) async fn tokenize(args: &TokenizeArgs, global: &Global) -> Result<(), Failure> {
    let (tokenizer, _) = open(&args.model, "tokenize").await?;
    let text = match args.prompt.as_str() {
        "-" => read(Path::new("-"))?,
        text => text.to_owned(),
    };
    let ids = if args.bos {
        tokenizer.encode_prompt(&text, args.special)?
    } else {
        tokenizer.encode(&text, args.special)?
    };
    if global.json {
        return output::print_json(&json!({ "ids": ids }));
    }
    if !args.pieces {
        return output::print(&format!("{}\n", output::ids(&ids)));
    }
    let lines: Vec<String> = ids
        .iter()
        .map(|&id| {
            format!(
                "{id:>8} {:?}\n",
                tokenizer.token_text(id).unwrap_or_default()
            )
        })
        .collect();
    output::print(&lines.concat())
}

/// Prints the prompt that a chat template makes of a conversation, and its token ids.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  echo '[{\"role\": \"user\", \"content\": \"Hello\"}]' | deputy template path/to/model --messages -

--json gives {\"text\": \"...\", \"ids\": [...]}.")]
pub(crate) struct TemplateArgs {
    #[command(flatten)]
    model: Given,
    /// A JSON file with the list of messages, each with `role` and `content`; - reads standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// End behind the last message, without the opening of an answer
    #[arg(long)]
    no_generation_prompt: bool,
    /// A variable for the template, such as enable_thinking=false; may be given several times
    #[arg(long, value_name = "NAME=JSON", value_parser = variable)]
    set: Vec<(String, Value)>,
}

pub(crate) async fn template(args: &TemplateArgs, global: &Global) -> Result<(), Failure> {
    let (tokenizer, template) = open(&args.model, "template --messages FILE").await?;
    let file = args.messages.display().to_string();
    let json = |cause| Failure::Json {
        file: file.clone(),
        cause,
    };
    let mut value: Value = serde_json::from_str(&read(&args.messages)?).map_err(json)?;
    // As chat completion requests have them.
    if let Some(messages) = value.get_mut("messages") {
        value = messages.take();
    }
    let messages: Vec<Message> = serde_json::from_value(value).map_err(json)?;
    let options = RenderOptions {
        add_generation_prompt: !args.no_generation_prompt,
        extra: args.set.iter().cloned().collect(),
        ..Default::default()
    };
    let text = tokenizer.render_chat(&template, &messages, &options)?.text;
    let ids = encode_chat(&tokenizer, &template, &messages, &options)?;
    if global.json {
        return output::print_json(&json!({ "text": text, "ids": ids }));
    }
    output::print_answer(&format!("{text}\n"))?;
    output::print(&format!("\n{}\n", output::ids(&ids)))
}

/// A variable of a template: its value is JSON, or else a string.
pub(crate) fn variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=JSON")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// Ids of any model.
const MAX_VOCAB_SIZE: u32 = 2_000_000;

/// A model's tokenizer and template. Files of a model that cannot be run have them too.
async fn open(given: &Given, command: &'static str) -> Result<(Tokenizer, ChatTemplate), Failure> {
    let file = given.open(command).await?;
    let vocab_size = Config::read(&file).map_or(MAX_VOCAB_SIZE, |config| config.vocab_size);
    let tokenizer =
        deputy::tokenizer(&file, vocab_size)?.ok_or_else(|| deputy::Error::NoTokenizer {
            model: file.name.clone(),
        })?;
    let template = match deputy::template(&file)? {
        Some(template) => template,
        None => ChatTemplate::new("the fallback template", FALLBACK)?,
    };
    Ok((tokenizer, template))
}

/// A text file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        return read
            .map(|_| text)
            .map_err(|cause| Failure::io(Path::new("standard input"), cause));
    }
    fs::read_to_string(path).map_err(|cause| Failure::io(path, cause))
}
