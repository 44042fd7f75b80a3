//! Chores of the repository, run as `cargo xtask`.

mod bench;
mod command;
mod date;
mod mobile;
mod record;
mod set;
mod table;
mod web;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

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

/// The repository. Cargo says where it runs this, which need not be where it was compiled: checkouts may share a
/// target directory.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let compiled = || env!("CARGO_MANIFEST_DIR").into();
        let xtask: PathBuf = env::var_os("CARGO_MANIFEST_DIR").map_or_else(compiled, PathBuf::from);
        xtask.parent().map(Path::to_owned).unwrap_or(xtask)
    });
    &ROOT
}
