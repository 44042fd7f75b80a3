//! A chat window over the deputy engine.

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

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use frames::FrameTimes;
use settings::ModelRef;
use store::Store;

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
    window::run(store, args.model.map(ModelRef::Path), frames.transpose()?)
}
