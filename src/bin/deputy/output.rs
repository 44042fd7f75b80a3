//! What is printed, where and how.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use deputy::{CacheUse, Generation, Progress, StopReason, TakenRoutes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Prints to standard output at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::Stdout)
}

/// Prints what a model said. On a terminal its control characters are left out: a model's file is
/// foreign, and an escape sequence could do more than show text.
pub(crate) fn print_answer(text: &str) -> Result<(), Failure> {
    let harmless = |c: &char| !c.is_control() || ['\n', '\t'].contains(c);
    if io::stdout().is_terminal() && !text.chars().all(|c| harmless(&c)) {
        return print(&text.chars().filter(harmless).collect::<String>());
    }
    print(text)
}

pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// A remark on standard error, dimmed on a terminal.
pub(crate) fn remark(text: &str) {
    if io::stderr().is_terminal() && colours() {
        say(&format!("\x1b[2m{text}\x1b[0m"));
    } else {
        say(text);
    }
}

/// A line on standard error.
pub(crate) fn say(line: &str) {
    // Where nobody reads it, it need not be said.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether a terminal is to be coloured (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A bar on standard error, if that is a terminal, that counts bytes.
pub(crate) fn byte_bar(what: &'static str) -> ProgressBar {
    bar(
        what,
        "{prefix} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}",
    )
}

/// A bar on standard error, if that is a terminal, that counts things.
pub(crate) fn count_bar(what: &'static str, total: usize) -> ProgressBar {
    let bar = bar(what, "{prefix} {bar:30} {pos} of {len} {msg} {eta}");
    bar.set_length(total as u64);
    bar
}

fn bar(what: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template of ours");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(what);
    bar
}

pub(crate) fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

/// The line after an answer.
pub(crate) fn summary(generation: &Generation) -> String {
    let reused = match generation.n_reused {
        0 => String::new(),
        n => format!(" ({n} cached)"),
    };
    let stop = match &generation.stop {
        StopReason::Stop(text) => format!("stop {text:?}"),
        other => other.name().to_owned(),
    };
    let drafts = match generation.n_drafted {
        0 => String::new(),
        n => format!(", {} of {n} drafts accepted", generation.n_accepted),
    };
    format!(
        "{}{reused}, {} to the first token, prefill {:.0} tok/s, {}, decode {:.1} tok/s, {stop}{drafts}",
        number(generation.n_prompt, "prompt token"),
        duration(generation.time_to_first_token),
        generation.prefill_tps(),
        number(generation.ids.len(), "token"),
        generation.decode_tps(),
    )
}

/// An answer as `--json` gives it.
pub(crate) fn generation_json(generation: &Generation) -> Value {
    json!({
        "text": generation.text,
        "ids": generation.ids,
        "stop": generation.stop.name(),
        "prompt_tokens": generation.n_prompt,
        "prefill_tps": generation.prefill_tps(),
        "decode_tps": generation.decode_tps(),
        "ttft_ms": generation.time_to_first_token.as_secs_f64() * 1e3,
        "drafted": generation.n_drafted,
        "accepted": generation.n_accepted,
    })
}

/// What the cache takes, on a line.
pub(crate) fn cache(used: &CacheUse) -> String {
    format!(
        "cache {}, {:.0} % of {} if every token were kept whole; {} allocated",
        bytes(used.bytes),
        100.0 * used.share(),
        bytes(used.dense_bytes),
        bytes(used.allocated),
    )
}

/// What the cache takes as `--json` gives it.
pub(crate) fn cache_json(used: &CacheUse) -> Value {
    json!({
        "dense_rows": used.n_dense,
        "latent_rows": used.n_latent,
        "bytes": used.bytes,
        "dense_bytes": used.dense_bytes,
        "allocated": used.allocated,
    })
}

/// What tokens took, on a line.
pub(crate) fn routes(taken: &TakenRoutes) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    format!(
        "attention {} low-rank; FFN {} low-rank, {} skipped; {} of the layers' multiply-adds",
        percent(taken.attention_low),
        percent(taken.ffn_low),
        percent(taken.ffn_skipped),
        percent(taken.compute),
    )
}

/// The same for `--json`.
pub(crate) fn routes_json(taken: &TakenRoutes) -> Value {
    json!({
        "attention_low": taken.attention_low,
        "ffn_low": taken.ffn_low,
        "ffn_skipped": taken.ffn_skipped,
        "compute": taken.compute,
    })
}

/// `1 token`, `2 tokens`.
pub(crate) fn number(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

pub(crate) fn duration(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// `1.25 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.2} {}", units[unit])
    }
}

/// `134.5 M`.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1} K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// `1,2,3`.
pub(crate) fn ids(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

/// Lines of cells, each column as wide as its widest cell; the first line is the heading.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let n_columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..n_columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Warnings, and with `-v` what deputy itself reports, go to standard error.
pub(crate) fn install_logger(verbose: bool) {
    static LOGGER: Logger = Logger;
    let level = if verbose {
        log::LevelFilter::Debug
    } else {
        log::LevelFilter::Warn
    };
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("deputy");
        // Drivers' and libraries' warnings are for their developers.
        let least = if ours {
            log::max_level()
        } else {
            log::LevelFilter::Error
        };
        metadata.level() <= least
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match record.level() {
            log::Level::Error | log::Level::Warn => say(&format!("warning: {}", record.args())),
            _ => remark(&record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
