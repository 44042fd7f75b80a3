//! What `deputy bench` prints.

use deputy::Engine;
use serde_json::{Value, json};

use super::kernels::Breakdown;
use super::{Cold, Kind, Test};
use crate::args::Global;
use crate::failure::Failure;
use crate::{model, output};

/// Everything that is printed.
pub(super) struct Report {
    model: String,
    weights: String,
    kv: &'static str,
    device: String,
    driver: Option<String>,
    commit: Option<String>,
    n_bytes: u64,
    n_params: u64,
    copy_bandwidth: f64,
    n_dispatches: usize,
    peak_memory: Option<u64>,
    cold: Cold,
    tests: Vec<Test>,
    profiles: Vec<Breakdown>,
}

impl Report {
    /// Measures the copy bandwidth, too.
    pub(super) async fn new(
        engine: &Engine,
        global: &Global,
        commit: Option<String>,
        n_dispatches: usize,
        cold: Cold,
        tests: Vec<Test>,
        profiles: Vec<Breakdown>,
    ) -> Result<Self, Failure> {
        // Before the copy, whose buffers are not the model's.
        let peak_memory = peak_memory();
        let layouts = engine.layouts();
        Ok(Self {
            model: model::short_name(engine.name()),
            weights: weights(engine),
            kv: global.kv.name(),
            device: engine.device(),
            driver: engine.adapter().map(|adapter| adapter.driver),
            commit,
            n_bytes: layouts.iter().map(|layout| layout.n_bytes()).sum(),
            n_params: layouts
                .iter()
                .map(|layout| u64::from(layout.rows) * u64::from(layout.cols))
                .sum(),
            copy_bandwidth: engine.copy_bandwidth().await?,
            n_dispatches,
            peak_memory,
            cold,
            tests,
            profiles,
        })
    }

    pub(super) fn markdown(&self) -> String {
        let heading = [
            "model", "size", "params", "device", "weights", "kv", "test", "t/s", "median", "GB/s",
            "of copy", "TFLOP/s",
        ];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        let number = |n: Option<f64>, digits| n.map_or(String::new(), |n| format!("{n:.digits$}"));
        for test in &self.tests {
            let copied = self.copied(test);
            lines.push(vec![
                self.model.clone(),
                output::bytes(self.n_bytes),
                output::count(self.n_params),
                self.device.clone(),
                self.weights.clone(),
                self.kv.to_owned(),
                test.name.clone(),
                format!("{:.2} ± {:.2}", test.mean(), test.deviation()),
                format!("{:.2}", test.median()),
                number(test.gigabytes(), 2),
                copied.map_or(String::new(), |n| format!("{:.1} %", 100.0 * n)),
                number(test.teraflops(), 3),
            ]);
        }
        let mut text = markdown_table(&lines);
        let memory = self.peak_memory.map_or(String::new(), |n| {
            format!(", peak memory {}", output::bytes(n))
        });
        text += &format!(
            "\ncopy bandwidth {:.2} GB/s, {} dispatches a token{memory}\n",
            self.copy_gigabytes(),
            self.n_dispatches
        );
        text += &format!(
            "cold start: load {}, {} to the first token of a prompt of {}\n",
            output::duration(self.cold.load),
            output::duration(self.cold.first_token),
            self.cold.n_prompt,
        );
        let driver = self
            .driver
            .as_ref()
            .map(|driver| format!("driver {driver}"));
        let commit = self.commit.as_ref().map(|id| format!("commit {id}"));
        let origin: Vec<String> = [driver, commit].into_iter().flatten().collect();
        if !origin.is_empty() {
            text += &format!("{}\n", origin.join(", "));
        }
        for profile in &self.profiles {
            text += &format!("\n{}\n\n", profile.summary());
            text += &markdown_table(&profile.table());
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let test = |test: &Test| {
            json!({
                "test": test.name,
                "tps": test.mean(),
                "tps_sd": test.deviation(),
                "tps_median": test.median(),
                "runs": test.tokens_per_second,
                "bytes_per_token": test.decodes().then_some(test.work.n_bytes),
                "flops_per_token": test.work.flops,
                "gb_s": test.gigabytes(),
                "copy_fraction": self.copied(test),
                "tflop_s": test.teraflops(),
            })
        };
        let mut report = json!({
            "model": self.model,
            "device": self.device,
            "driver": self.driver,
            "commit": self.commit,
            "weights": self.weights,
            "kv": self.kv,
            "size": self.n_bytes,
            "params": self.n_params,
            "copy_gb_s": self.copy_gigabytes(),
            "dispatches_per_token": self.n_dispatches,
            "peak_memory": self.peak_memory,
            "load_s": self.cold.load.as_secs_f64(),
            "first_token_s": self.cold.first_token.as_secs_f64(),
            "tests": self.tests.iter().map(test).collect::<Vec<_>>(),
        });
        if !self.profiles.is_empty() {
            report["profiles"] = self.profiles.iter().map(Breakdown::json).collect();
        }
        report
    }

    pub(super) fn csv(&self) -> String {
        let mut text =
            "model,size,params,device,driver,commit,weights,kv,test,tps,tps_sd,tps_median,\
            gb_s,tflop_s,copy_gb_s,dispatches_per_token,peak_memory,load_s,first_token_s\n"
                .to_owned();
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{n:.4}"));
        for test in &self.tests {
            text += &format!(
                "{},{},{},{},{},{},{},{},{},{:.3},{:.3},{:.3},{},{},{:.3},{},{},{:.3},{:.3}\n",
                quoted(&self.model),
                self.n_bytes,
                self.n_params,
                quoted(&self.device),
                quoted(self.driver.as_deref().unwrap_or("")),
                quoted(self.commit.as_deref().unwrap_or("")),
                self.weights,
                self.kv,
                test.name,
                test.mean(),
                test.deviation(),
                test.median(),
                number(test.gigabytes()),
                number(test.teraflops()),
                self.copy_gigabytes(),
                self.n_dispatches,
                self.peak_memory.map_or(String::new(), |n| n.to_string()),
                self.cold.load.as_secs_f64(),
                self.cold.first_token.as_secs_f64(),
            );
        }
        if !self.profiles.is_empty() {
            text += &format!("\n{}", Breakdown::CSV_HEADING);
            text.extend(self.profiles.iter().map(Breakdown::csv));
        }
        text
    }

    /// Its bandwidth as a part of the copy's.
    fn copied(&self, test: &Test) -> Option<f64> {
        Some(test.gigabytes()? / self.copy_gigabytes())
    }

    fn copy_gigabytes(&self) -> f64 {
        self.copy_bandwidth / 1e9
    }
}

impl Test {
    fn mean(&self) -> f64 {
        self.tokens_per_second.iter().sum::<f64>() / self.tokens_per_second.len() as f64
    }

    fn median(&self) -> f64 {
        let mut rates = self.tokens_per_second.clone();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len() / 2;
        if rates.len().is_multiple_of(2) {
            (rates[middle - 1] + rates[middle]) / 2.0
        } else {
            rates[middle]
        }
    }

    /// Of the sample, as llama-bench gives it.
    fn deviation(&self) -> f64 {
        let n = self.tokens_per_second.len() as f64;
        let mean = self.mean();
        let squares: f64 = self
            .tokens_per_second
            .iter()
            .map(|rate| (rate - mean).powi(2))
            .sum();
        if n > 1.0 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        }
    }

    fn decodes(&self) -> bool {
        self.kind == Kind::Decode
    }

    /// Gigabytes a second that decoding reads at least.
    fn gigabytes(&self) -> Option<f64> {
        self.decodes()
            .then(|| self.work.n_bytes as f64 * self.mean() / 1e9)
    }

    /// 10^12 operations a second that prefill computes at least.
    fn teraflops(&self) -> Option<f64> {
        (!self.decodes()).then(|| self.work.flops as f64 * self.mean() / 1e12)
    }
}

/// A table with padded columns; the first line is the heading.
fn markdown_table(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let row = |line: &Vec<String>| -> String {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule: String = widths
        .iter()
        .map(|width| format!("{}|", "-".repeat(width + 2)))
        .collect();
    let mut text = format!("{}|{rule}\n", row(&lines[0]));
    text.extend(lines[1..].iter().map(row));
    text
}

/// The types of the matrices, that of most bytes first.
fn weights(engine: &Engine) -> String {
    let mut types: Vec<(u64, &str)> = vec![];
    let weights = engine.model().graph.weights().iter().zip(engine.layouts());
    for (_, layout) in weights.filter(|(weight, _)| !weight.is_vector) {
        let name = layout.dtype.name();
        match types.iter_mut().find(|(_, known)| *known == name) {
            Some((n_bytes, _)) => *n_bytes += layout.n_bytes(),
            None => types.push((layout.n_bytes(), name)),
        }
    }
    types.sort_unstable_by(|a, b| b.cmp(a));
    let names: Vec<&str> = types.iter().map(|(_, name)| *name).collect();
    names.join("+")
}

/// The most memory that the process has had, where the system says so.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
