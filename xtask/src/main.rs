//! Chores of the repository, run as `cargo xtask`.

mod bench;
mod command;
mod date;
mod mobile;
mod record;
mod set;
mod table;
mod web;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the deputy repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(Box<bench::Args>),
    Mobile(mobile::Args),
    Table(TableArgs),
    Web(web::Args),
}

/// Prints what was recorded as a markdown table.
#[derive(clap::Args)]
struct TableArgs {
    /// Files of benches/record
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let done = match &Cli::parse().task {
        Task::Bench(args) => bench::run(args),
        Task::Mobile(args) => mobile::run(args),
        Task::Table(args) => table(args),
        Task::Web(args) => web::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn table(args: &TableArgs) -> Result<(), String> {
    let mut records = vec![];
    for file in &args.files {
        records.extend(record::read(file)?);
    }
    print!("{}", table::markdown(&records));
    Ok(())
}

/// The repository.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
