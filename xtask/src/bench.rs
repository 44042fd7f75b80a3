//! `cargo xtask bench`: runs a set, and records what it gave.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::command::{fill, output};
use crate::record::{Peer, Record, Round, median, significant};
use crate::set::{self, Entry};
use crate::{date, root, table};

/// Runs a set of `deputy bench`, appends a line for each run to benches/record, prints a table.
///
/// Models are not part of the repository: they lie in a folder, or are made by a program of yours.
/// Templates are split at spaces; there is no shell.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench --models DIR
  cargo xtask bench --models DIR --set gpu --device 0 --only 8b
  cargo xtask bench --models DIR --set gpu --discard --make 'python make_model.py {shape} {file} {format}'
  cargo xtask bench --models DIR --peer-name llama.cpp --peer 'python peer.py {file} -p {p} -n {g} -r {r}'

{file}, {p}, {g}, {d} and {r} of a peer's template are the model, the lengths of prompt and answer,
the depth and the repetitions. A peer prints a line of JSON with the numbers prefill_tps and decode_tps. It is run in turn with
deputy on the same file, at depth 0 only unless its template has {d}.")]
pub(crate) struct Args {
    /// Where the models lie
    #[arg(long, value_name = "DIR")]
    models: PathBuf,
    /// Which set
    #[arg(long, value_name = "NAME", default_value = "software")]
    set: String,
    /// Only models whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// As deputy takes it
    #[arg(long, default_value = "0")]
    device: String,
    /// Repetitions within a run
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Runs of each program, in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Another program to compare with: a command with the placeholders below
    #[arg(long, value_name = "TEMPLATE")]
    peer: Option<String>,
    /// What the record calls it
    #[arg(long, value_name = "NAME", default_value = "peer")]
    peer_name: String,
    /// Makes a model that is absent, with {shape} {format} {file}
    #[arg(long, value_name = "TEMPLATE")]
    make: Option<String>,
    /// Remove the models made once they are measured
    #[arg(long, requires = "make")]
    discard: bool,
    /// A built program, instead of building one
    #[arg(long, value_name = "FILE")]
    deputy: Option<PathBuf>,
    /// What was measured [default: from git]
    #[arg(long)]
    commit: Option<String>,
    /// The sets [default: benches/sets.json]
    #[arg(long, value_name = "FILE")]
    sets: Option<PathBuf>,
    /// Where records go [default: benches/record]
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let or = |path: &Option<PathBuf>, default| path.clone().unwrap_or_else(|| root().join(default));
    let mut entries = set::read(&or(&args.sets, "benches/sets.json"), &args.set)?;
    entries.retain(|entry| entry.model().contains(&args.only));
    if entries.is_empty() {
        return Err(format!("the set {} has no {:?}", args.set, args.only));
    }
    let commit = args.commit.clone().map_or_else(commit, Ok)?;
    let deputy = deputy(args)?;
    let folder = or(&args.record, "benches/record");
    let mut records = vec![];
    for entry in &entries {
        let file = args.models.join(entry.model());
        let made = make(args, entry, &file)?;
        for &depth in &entry.depths {
            let run = Run {
                args,
                deputy: &deputy,
                commit: &commit,
                entry,
                file: &file,
                depth,
            };
            let record = run.record()?;
            let at = record.append(&folder)?;
            eprintln!("recorded in {}", at.display());
            records.push(record);
        }
        if made && args.discard {
            std::fs::remove_file(&file).map_err(|cause| format!("{}: {cause}", file.display()))?;
        }
    }
    print!("{}", table::markdown(&records));
    Ok(())
}

/// The checkout, and whether it has been changed.
fn commit() -> Result<String, String> {
    let root = root().display().to_string();
    let line = ["git", "-C", &root, "describe", "--always", "--dirty"].map(str::to_owned);
    let commit = output(&line).map_err(|error| format!("{error}; name it with --commit"))?;
    Ok(commit.trim().to_owned())
}

/// The command line of the program, up to its arguments; built first, where it is ours to build.
fn deputy(args: &Args) -> Result<Vec<String>, String> {
    if let Some(program) = &args.deputy {
        return Ok(vec![program.display().to_string()]);
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = root().join("Cargo.toml").display().to_string();
    let options = [
        "--release",
        "--package",
        "deputy",
        "--manifest-path",
        &manifest,
    ];
    let line = |task: &[&str], rest: &[&str]| -> Vec<String> {
        let words = [&[cargo.as_str()], task, &options, rest].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    output(&line(&["build"], &[]))?;
    Ok(line(&["run", "--quiet"], &["--"]))
}

/// Makes a model that is absent; returns whether it did.
fn make(args: &Args, entry: &Entry, file: &Path) -> Result<bool, String> {
    if file.exists() {
        return Ok(false);
    }
    let path = file.display().to_string();
    let template = args
        .make
        .as_ref()
        .ok_or_else(|| format!("{path}: is not there; make it, or say how with --make"))?;
    eprintln!("making {path}");
    let values = [
        ("shape", entry.shape.as_str()),
        ("format", &entry.format),
        ("file", &path),
    ];
    output(&fill(template, &values))?;
    Ok(true)
}

/// What is read of `deputy bench -o json`.
#[derive(Deserialize)]
struct Report {
    device: String,
    driver: Option<String>,
    copy_gb_s: f64,
    dispatches_per_token: u32,
    peak_memory: Option<u64>,
    load_s: f64,
    first_token_s: f64,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    test: String,
    tps_median: f64,
    gb_s: Option<f64>,
    copy_fraction: Option<f64>,
    tflop_s: Option<f64>,
}

impl Report {
    /// `pp` or `tg`.
    fn test(&self, kind: &str) -> Option<&Test> {
        self.tests.iter().find(|test| test.test.starts_with(kind))
    }
}

/// What a peer prints.
#[derive(Deserialize)]
struct PeerReport {
    prefill_tps: f64,
    decode_tps: f64,
}

/// A model at a depth.
struct Run<'a> {
    args: &'a Args,
    deputy: &'a [String],
    commit: &'a str,
    entry: &'a Entry,
    file: &'a Path,
    depth: u32,
}

impl Run<'_> {
    /// Runs both programs in turn.
    fn record(&self) -> Result<Record, String> {
        let (mut reports, mut peers) = (vec![], vec![]);
        for round in 1..=self.args.rounds {
            let Entry { shape, format, .. } = self.entry;
            eprintln!("{shape} {format} @ {}, round {round}", self.depth);
            reports.push(self.ours()?);
            peers.extend(self.peer()?);
        }
        Ok(self.summary(&reports, &peers))
    }

    fn ours(&self) -> Result<Report, String> {
        let file = self.file.display().to_string();
        let mut line = self.deputy.to_vec();
        line.extend(self.arguments(&file));
        line.extend(["-o", "json"].map(str::to_owned));
        let text = output(&line)?;
        serde_json::from_str(&text).map_err(|cause| format!("{}: {cause}", line.join(" ")))
    }

    /// The peer's figures, where it can be run.
    fn peer(&self) -> Result<Option<PeerReport>, String> {
        let Some(template) = &self.args.peer else {
            return Ok(None);
        };
        if self.depth > 0 && !template.contains("{d}") {
            return Ok(None);
        }
        let file = self.file.display().to_string();
        let numbers = [
            self.entry.n_prompt,
            self.entry.n_gen,
            self.depth,
            self.args.repeat,
        ];
        let [p, n, d, r] = numbers.map(|n| n.to_string());
        let values = [("file", &file), ("p", &p), ("g", &n), ("d", &d), ("r", &r)];
        let line = fill(
            template,
            &values.map(|(name, value)| (name, value.as_str())),
        );
        peer_report(&output(&line)?)
            .map(Some)
            .ok_or_else(|| format!("{}: no line of JSON with its rates", line.join(" ")))
    }

    fn arguments(&self, file: &str) -> Vec<String> {
        let Entry {
            n_prompt, n_gen, ..
        } = self.entry;
        let mut line = format!(
            "-p {n_prompt} -n {n_gen} -d {} -r {} --tune full --device",
            self.depth, self.args.repeat
        );
        if let Some(weights) = &self.entry.weights {
            line = format!("--weights {weights} {line}");
        }
        let options = line.split(' ').map(str::to_owned);
        let command = ["bench".to_owned(), file.to_owned()];
        let device = self.args.device.clone();
        command.into_iter().chain(options).chain([device]).collect()
    }

    fn summary(&self, reports: &[Report], peers: &[PeerReport]) -> Record {
        let middle = |of: &dyn Fn(&Report) -> Option<f64>| median(reports.iter().filter_map(of));
        let of_test =
            |kind, of: fn(&Test) -> Option<f64>| middle(&|report| report.test(kind).and_then(of));
        let tps = |kind| of_test(kind, |test| Some(test.tps_median));
        let last = reports.last().expect("a run has a round at least");
        let (prefill_tps, decode_tps) = (tps("pp"), tps("tg"));
        let peer = (!peers.is_empty()).then(|| {
            let theirs_prefill = median(peers.iter().map(|peer| peer.prefill_tps));
            let theirs_decode = median(peers.iter().map(|peer| peer.decode_tps));
            let ratio = |ours: Option<f64>, theirs: Option<f64>| Some(significant(ours? / theirs?));
            Peer {
                name: self.args.peer_name.clone(),
                prefill_tps: theirs_prefill,
                decode_tps: theirs_decode,
                prefill_ratio: ratio(prefill_tps, theirs_prefill),
                decode_ratio: ratio(decode_tps, theirs_decode),
            }
        });
        let round = |(i, report): (usize, &Report)| Round {
            prefill_tps: report.test("pp").map(|test| significant(test.tps_median)),
            decode_tps: report.test("tg").map(|test| significant(test.tps_median)),
            peer_prefill_tps: peers.get(i).map(|peer| peer.prefill_tps),
            peer_decode_tps: peers.get(i).map(|peer| peer.decode_tps),
        };
        let always = |of: fn(&Report) -> f64| {
            middle(&|report| Some(of(report))).expect("a run has a round at least")
        };
        Record {
            date: date::today(),
            commit: self.commit.to_owned(),
            adapter: last.device.clone(),
            driver: last.driver.clone(),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu(),
            command: format!("deputy {}", self.arguments(&self.entry.model()).join(" ")),
            shape: self.entry.shape.clone(),
            format: self.entry.format.clone(),
            n_prompt: self.entry.n_prompt,
            n_gen: self.entry.n_gen,
            depth: self.depth,
            prefill_tps,
            prefill_tflop_s: of_test("pp", |test| test.tflop_s),
            decode_tps,
            decode_gb_s: of_test("tg", |test| test.gb_s),
            copy_fraction: of_test("tg", |test| test.copy_fraction),
            copy_gb_s: always(|report| report.copy_gb_s),
            dispatches_per_token: last.dispatches_per_token,
            load_s: always(|report| report.load_s),
            first_token_s: always(|report| report.first_token_s),
            peak_memory: reports.iter().filter_map(|report| report.peak_memory).max(),
            peer,
            rounds: reports.iter().enumerate().map(round).collect(),
        }
    }
}

/// The last line that is one: programs say other things, too.
fn peer_report(text: &str) -> Option<PeerReport> {
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
}

/// Name of the processor, where the system has a file with it.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}
