//! What a run gave, as a line of a file in `benches/record`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One model at one depth on one adapter. Figures are medians of the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// In UTC.
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) adapter: String,
    /// None on the CPU executor.
    pub(crate) driver: Option<String>,
    pub(crate) os: String,
    /// Where the system names it.
    pub(crate) cpu: Option<String>,
    /// Without the folders of this machine.
    pub(crate) command: String,
    pub(crate) shape: String,
    pub(crate) format: String,
    pub(crate) n_prompt: u32,
    pub(crate) n_gen: u32,
    pub(crate) depth: u32,
    pub(crate) prefill_tps: Option<f64>,
    pub(crate) prefill_tflop_s: Option<f64>,
    pub(crate) decode_tps: Option<f64>,
    pub(crate) decode_gb_s: Option<f64>,
    /// Of the copy bandwidth of the same run.
    pub(crate) copy_fraction: Option<f64>,
    pub(crate) copy_gb_s: f64,
    pub(crate) dispatches_per_token: u32,
    pub(crate) load_s: f64,
    /// From before the load to the first token of a prompt of `n_prompt`.
    pub(crate) first_token_s: f64,
    /// Bytes of the process.
    pub(crate) peak_memory: Option<u64>,
    /// The other program, run in turn on the same file.
    pub(crate) peer: Option<Peer>,
    pub(crate) rounds: Vec<Round>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) prefill_tps: Option<f64>,
    pub(crate) decode_tps: Option<f64>,
    /// Ours by theirs.
    pub(crate) prefill_ratio: Option<f64>,
    /// Ours by theirs.
    pub(crate) decode_ratio: Option<f64>,
}

/// Tokens a second of ours, then of the peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) prefill_tps: Option<f64>,
    pub(crate) decode_tps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_prefill_tps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_decode_tps: Option<f64>,
}

impl Record {
    /// Adds it to the file of its adapter and day.
    pub(crate) fn append(&self, folder: &Path) -> Result<PathBuf, String> {
        let file = folder.join(file_name(&self.adapter, &self.date));
        let failed = |cause| format!("{}: {cause}", file.display());
        let line = serde_json::to_string(self).map_err(|cause| failed(cause.into()))?;
        fs::create_dir_all(folder).map_err(failed)?;
        let mut out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(failed)?;
        writeln!(out, "{line}").map_err(failed)?;
        Ok(file)
    }
}

/// The records of a file.
pub(crate) fn read(file: &Path) -> Result<Vec<Record>, String> {
    let text = fs::read_to_string(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(n, line)| {
            serde_json::from_str(line)
                .map_err(|cause| format!("{}:{}: {cause}", file.display(), n + 1))
        })
        .collect()
}

/// `NVIDIA L4 (vulkan)` -> `nvidia-l4-vulkan-2026-11-21.jsonl`
fn file_name(adapter: &str, date: &str) -> String {
    let lower = adapter.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.push(date);
    format!("{}.jsonl", words.join("-"))
}

/// The middle one, or the mean of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(significant((lower + upper) / 2.0))
}

/// Four digits: more are noise.
pub(crate) fn significant(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Record {
        Record {
            date: "2026-11-21".to_owned(),
            commit: "abc".to_owned(),
            adapter: "Fast GPU (vulkan)".to_owned(),
            driver: Some("driver 1.2".to_owned()),
            os: "linux x86_64".to_owned(),
            cpu: None,
            command: "deputy bench tiny-Q4_0.gguf".to_owned(),
            shape: "tiny".to_owned(),
            format: "Q4_0".to_owned(),
            n_prompt: 512,
            n_gen: 128,
            depth: 0,
            prefill_tps: Some(1234.5),
            prefill_tflop_s: Some(2.5),
            decode_tps: Some(99.25),
            decode_gb_s: Some(61.5),
            copy_fraction: Some(0.615),
            copy_gb_s: 100.0,
            dispatches_per_token: 97,
            load_s: 0.5,
            first_token_s: 0.75,
            peak_memory: Some(1 << 30),
            peer: None,
            rounds: vec![Round {
                prefill_tps: Some(1234.5),
                decode_tps: Some(99.25),
                ..Default::default()
            }],
        }
    }

    #[test]
    fn a_record_is_a_line_of_its_adapters_and_days_file() {
        let folder = std::env::temp_dir().join(format!("deputy-xtask-{}", std::process::id()));
        let first = example();
        let second = Record {
            depth: 2048,
            ..example()
        };
        let file = first.append(&folder).expect("is written");
        assert_eq!(second.append(&folder).expect("is written"), file);
        assert!(file.ends_with("fast-gpu-vulkan-2026-11-21.jsonl"));
        assert_eq!(read(&file).expect("is read"), [first, second]);
        fs::write(&file, "{}\n").expect("is written");
        let error = read(&file).expect_err("is no record");
        assert!(error.contains(":1: "), "{error}");
        fs::remove_dir_all(&folder).expect("is removed");
    }

    #[test]
    fn file_names_hold_no_odd_characters() {
        let name = file_name("llvmpipe (LLVM 15.0.6, 256 bits) (vulkan)", "2026-11-21");
        assert_eq!(
            name,
            "llvmpipe-llvm-15.0.6-256-bits-vulkan-2026-11-21.jsonl"
        );
        assert_eq!(file_name("../a\\b", "d"), "..-a-b-d.jsonl");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([9.0, 1.0, 5.0, 2.0]), Some(3.5));
    }

    #[test]
    fn figures_have_four_digits() {
        assert_eq!(significant(12_345.6), 12_350.0);
        assert_eq!(significant(0.001_234_56), 0.001_235);
        assert_eq!(significant(0.0), 0.0);
    }
}
