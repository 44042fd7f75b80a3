//! `deputy chat`: a conversation.

mod prompt;

use std::io::{self, BufRead, IsTerminal};
use std::ops::ControlFlow;

use deputy::tokenizer::{Message, RenderOptions};
use deputy::{Engine, GenerateOptions, Generation, Piece, Session, SessionOptions, StopReason};
use serde_json::{Value, json};

use crate::args::{Global, Sampling};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::model::Given;
use crate::{model, output, text};
use prompt::{Line, Prompt};

/// Talks with a model.
///
/// Ctrl-C stops an answer, Ctrl-D leaves. Without a terminal each line of standard input is a turn.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy chat path/to/SmolLM2-360M-Instruct
  deputy chat model.gguf -s 'Answer in one sentence.' --temp 0.3
  deputy chat model.gguf -p 'Why is the sky blue?' --json")]
pub(crate) struct Args {
    #[command(flatten)]
    model: Given,
    /// What the model is told before the conversation
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Answer this and leave
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A variable for the chat template, such as enable_thinking=false; may be given several times
    #[arg(long, value_name = "NAME=JSON", value_parser = text::variable)]
    set: Vec<(String, Value)>,
    #[command(flatten)]
    sampling: Sampling,
}

const HELP: &str = "\
/help         this list
/reset        forget the conversation
/system TEXT  forget the conversation and set what the model is told before it
/stats        the conversation's tokens and the last answer's times
/exit         leave, as Ctrl-D does
Ctrl-C stops an answer. A line that ends with \\ goes on in the next one.";

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    args.sampling.check()?;
    let engine = args.model.load("chat", global).await?;
    engine.tokenizer()?;
    let mut chat = Chat {
        session: model::session(&engine, SessionOptions::default(), global).await?,
        messages: vec![],
        options: args.sampling.options(global, &engine),
        render: RenderOptions {
            extra: args.set.iter().cloned().collect(),
            ..Default::default()
        },
        json: global.json,
        last: None,
    };
    chat.reset(args.system.as_deref());
    if let Some(prompt) = &args.prompt {
        let generation = chat.turn(prompt).await?;
        if global.json {
            output::print_json(&output::generation_json(&generation))?;
        }
        return match generation.stop {
            StopReason::Cancelled => Err(Failure::Interrupted),
            _ => Ok(()),
        };
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() && !global.json {
        greet(&engine);
        chat.interactive().await
    } else {
        chat.lines().await
    }
}

fn greet(engine: &Engine) {
    let name = model::short_name(engine.name());
    output::remark(&format!(
        "{name} on {}, context of {} tokens",
        engine.device(),
        engine.n_ctx()
    ));
    if engine.template().is_none() {
        output::remark(
            "the model has no chat template, so it may not have been trained to talk; a plain one is used",
        );
    }
    output::remark("/help lists the commands, Ctrl-D leaves");
}

struct Chat {
    session: Session,
    messages: Vec<Message>,
    options: GenerateOptions,
    render: RenderOptions,
    json: bool,
    last: Option<Generation>,
}

impl Chat {
    async fn interactive(&mut self) -> Result<(), Failure> {
        let mut prompt = Prompt::new()?;
        loop {
            output::print("\n")?;
            match prompt.read()? {
                Line::Text(line) if line.starts_with('/') => {
                    if self.command(&line).is_break() {
                        return Ok(());
                    }
                }
                Line::Text(line) if line.trim().is_empty() => {}
                Line::Text(line) => {
                    output::print("\n")?;
                    // What one turn cannot have is no reason to leave.
                    match self.turn(&line).await {
                        Err(failure @ Failure::Engine(_)) => {
                            failure.report();
                            output::remark("the conversation is as it was; /reset starts anew");
                        }
                        result => drop(result?),
                    }
                }
                Line::Interrupted => output::remark("Ctrl-D or /exit leaves"),
                Line::End => return Ok(()),
            }
        }
    }

    /// Each line of standard input is a turn.
    async fn lines(&mut self) -> Result<(), Failure> {
        let mut turns = vec![];
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|cause| Failure::io("standard input".as_ref(), cause))?;
            if line.trim().is_empty() {
                continue;
            }
            let generation = self.turn(&line).await?;
            turns.push(output::generation_json(&generation));
            if generation.stop == StopReason::Cancelled {
                return Err(Failure::Interrupted);
            }
        }
        if self.json {
            output::print_json(&json!({ "turns": turns }))?;
        }
        Ok(())
    }

    /// Adds a message and its answer to the conversation. Where there is no answer, the conversation
    /// stays as it was.
    async fn turn(&mut self, text: &str) -> Result<Generation, Failure> {
        self.messages.push(Message::new("user", text));
        let result = self.answer().await;
        match &result {
            Ok(generation)
                if !generation.ids.is_empty() || generation.stop != StopReason::Cancelled =>
            {
                self.messages
                    .push(Message::new("assistant", &generation.text));
                self.last = Some(generation.clone());
            }
            _ => drop(self.messages.pop()),
        }
        result
    }

    async fn answer(&mut self) -> Result<Generation, Failure> {
        let prompt = self
            .session
            .engine()
            .encode_chat(&self.messages, &self.render)?;
        let guard = Guard::new();
        self.options.cancel = guard.cancel.clone();
        let json = self.json;
        let mut printed = Ok(());
        let mut on_piece = |piece: Piece<'_>| {
            if !json {
                printed = output::print_answer(piece.text);
            }
            if printed.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let generation = self
            .session
            .generate(&prompt, &self.options, &mut on_piece)
            .await?;
        drop(guard);
        printed?;
        if !json {
            output::print("\n")?;
        }
        if io::stdout().is_terminal() {
            output::say("");
        }
        output::remark(&output::summary(&generation));
        if let Some(routes) = self.session.taken_routes(0).await? {
            output::remark(&output::routes(&routes));
            let used = self.session.cache_use().await?;
            output::remark(&output::cache(&used));
        }
        if generation.stop == StopReason::ContextFull {
            let n_ctx = self.session.engine().n_ctx();
            output::remark(&format!(
                "the context of {n_ctx} tokens is full; /reset starts anew, --ctx N makes it larger"
            ));
        }
        Ok(generation)
    }

    fn command(&mut self, line: &str) -> ControlFlow<()> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match name {
            "/help" => output::remark(HELP),
            "/reset" => {
                let first = self
                    .messages
                    .first()
                    .filter(|message| message.role == "system");
                let system = first.map(|message| message.content.clone());
                self.reset(system.as_deref());
                output::remark("the conversation is forgotten");
            }
            "/system" => {
                self.reset(Some(rest.trim()).filter(|text| !text.is_empty()));
                output::remark("a new conversation");
            }
            "/stats" => self.stats(),
            "/exit" | "/quit" => return ControlFlow::Break(()),
            _ => output::remark(&format!("there is no {name}; /help lists the commands")),
        }
        ControlFlow::Continue(())
    }

    fn reset(&mut self, system: Option<&str>) {
        self.messages.clear();
        self.messages
            .extend(system.map(|text| Message::new("system", text)));
        self.last = None;
    }

    fn stats(&self) {
        let engine = self.session.engine();
        let n_turns = self
            .messages
            .iter()
            .filter(|message| message.role == "user")
            .count();
        let n = if self.last.is_some() {
            self.session.tokens(0).len().min(engine.n_ctx() as usize)
        } else {
            0
        };
        let footprint = engine.footprint();
        output::remark(&format!(
            "{}, {n} of {} tokens of context",
            output::number(n_turns, "turn"),
            engine.n_ctx()
        ));
        output::remark(&format!(
            "{} of memory: {} weights, {} cache, {} activations",
            output::bytes(footprint.total()),
            output::bytes(footprint.weights),
            output::bytes(footprint.cache),
            output::bytes(footprint.activations)
        ));
        if let Some(last) = &self.last {
            output::remark(&output::summary(last));
        }
    }
}
