//! The command line. Answers go to standard output, everything else to standard error.

mod args;
mod batch;
mod bench;
mod chat;
mod devices;
mod failure;
#[cfg(feature = "fit")]
mod fit;
#[cfg(feature = "fit")]
mod fit_report;
#[cfg(feature = "fit")]
mod flatten;
mod generate;
mod inspect;
mod interrupt;
mod logits;
mod model;
mod output;
mod perplexity;
mod quantize;
mod routes;
mod text;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use args::Global;
use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  deputy
  deputy chat path/to/SmolLM2-360M-Instruct
  deputy chat model.gguf -s 'You are a pirate.' -p 'Who are you?'
  deputy generate model.gguf -p 'Once upon a time' -n 100 --temp 0
  deputy bench path/to/model --weights q4 --device cpu
  deputy devices

MODEL is a Hugging Face folder (config.json, model.safetensors, tokenizer.json) or a .gguf file; without it
the small model that is compiled in is used.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// Runs language models on any GPU through WebGPU, and on the CPU.
#[derive(Parser)]
#[command(name = "deputy", version, after_help = EXAMPLES)]
struct Cli {
    /// Without one: chat with the model that is compiled in
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand)]
enum Command {
    Chat(chat::Args),
    Generate(generate::Args),
    Logits(logits::Args),
    Tokenize(text::TokenizeArgs),
    Template(text::TemplateArgs),
    Perplexity(perplexity::Args),
    Bench(bench::Args),
    Inspect(inspect::Args),
    Quantize(quantize::Args),
    Routes(routes::Args),
    #[cfg(feature = "fit")]
    Fit(fit::Args),
    #[cfg(feature = "fit")]
    Flatten(flatten::Args),
    Devices(devices::Args),
    Completions(CompletionsArgs),
}

/// Prints a completion script for a shell.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  deputy completions bash > ~/.local/share/bash-completion/completions/deputy"
)]
struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if cli.command.is_none() {
        // As if it had been typed behind the options.
        cli = Cli::parse_from(std::env::args_os().chain(["chat".into()]));
    }
    output::install_logger(cli.global.verbose);
    match pollster::block_on(run(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: &Cli) -> Result<(), Failure> {
    interrupt::install()?;
    let global = &cli.global;
    match cli.command.as_ref().expect("chat is a command") {
        Command::Chat(args) => chat::run(args, global).await,
        Command::Generate(args) => generate::run(args, global).await,
        Command::Logits(args) => logits::run(args, global).await,
        Command::Tokenize(args) => text::tokenize(args, global).await,
        Command::Template(args) => text::template(args, global).await,
        Command::Perplexity(args) => perplexity::run(args, global).await,
        Command::Bench(args) => bench::run(args, global).await,
        Command::Inspect(args) => inspect::run(args, global).await,
        Command::Quantize(args) => quantize::run(args, global).await,
        Command::Routes(args) => routes::run(args, global).await,
        #[cfg(feature = "fit")]
        Command::Fit(args) => fit::run(args, global).await,
        #[cfg(feature = "fit")]
        Command::Flatten(args) => flatten::run(args, global).await,
        Command::Devices(args) => devices::run(args, global).await,
        Command::Completions(args) => completions(args),
    }
}

fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "deputy", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).map_err(Failure::Stdout)
}
