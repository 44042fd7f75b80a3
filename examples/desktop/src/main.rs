//! A chat window over the deputy engine.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod app;
mod chat;
mod engine;
mod frames;
mod problem;
mod settings;
mod speed;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod ui;
mod window;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;

use app::Unfinished;
use frames::FrameTimes;
use settings::ModelRef;
use store::Store;
use window::Start;

/// A window to talk with a language model in.
#[derive(Parser)]
#[command(name = "deputy-desktop", version)]
struct Args {
    /// A Hugging Face folder or a .gguf file [default: the last one, or the model that is compiled in]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Where chats and settings are kept [default: the platform's data folder]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Draw without pause, and write how long each frame took to this file
    #[arg(long, value_name = "FILE")]
    frame_times: Option<PathBuf>,
    /// The chat that a window which failed has shown
    #[arg(long, value_name = "ID", hide = true)]
    chat: Option<String>,
    /// What was being typed in it
    #[arg(
        long,
        value_name = "TEXT",
        hide = true,
        requires = "chat",
        allow_hyphen_values = true
    )]
    draft: Option<String>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            rfd::MessageDialog::new()
                .set_title("deputy cannot open its window")
                .set_level(rfd::MessageLevel::Error)
                .set_description(&message)
                .show();
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), String> {
    let store = Store::open(args.data).map_err(|error| error.to_string())?;
    let frames = args.frame_times.as_deref().map(|path| {
        FrameTimes::create(path).map_err(|cause| format!("{}: {cause}", path.display()))
    });
    let ended = window::run(Start {
        store,
        model: args.model.map(ModelRef::Path),
        frames: frames.transpose()?,
        unfinished: args.chat.map(|chat| Unfinished {
            chat,
            draft: args.draft.unwrap_or_default(),
        }),
    })?;
    match ended {
        None => Ok(()),
        Some(unfinished) => again(unfinished).map_err(|cause| format!("another window: {cause}")),
    }
}

/// Starts the program again, as it was started.
fn again(unfinished: Unfinished) -> io::Result<()> {
    let given = std::env::args_os().skip(1);
    // What an earlier failure has left would be given twice.
    let given = given.take_while(|arg| arg != "--chat");
    Command::new(std::env::current_exe()?)
        .args(given)
        .args(["--chat", &unfinished.chat, "--draft", &unfinished.draft])
        .spawn()
        .map(drop)
}
