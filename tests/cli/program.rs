//! Running the program and looking at what it said.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The program with these arguments and nothing on standard input.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deputy"));
    command
        .args(args)
        // Not the user's own.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a run left.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        let run = Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run
    }
}

impl Run {
    /// Its standard output, where it succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Its standard output, which is one JSON value.
    pub(crate) fn json(self) -> Value {
        let stdout = self.ok();
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"))
    }

    /// The error that it ended with: the last line, and nothing on standard output.
    pub(crate) fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stdout, "", "an error is no answer");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: "), "{}", self.stderr);
        last
    }
}

/// Runs the program as it is.
pub(crate) fn run(args: &[&str]) -> Run {
    command(args).output().expect("the program starts").into()
}

/// Runs the program on the CPU with an f32 cache, so that differences are rounding.
pub(crate) fn cpu(args: &[&str]) -> Run {
    run(&[args, &["--device", "cpu", "--kv", "f32"]].concat())
}

/// As [`cpu`], with a text on standard input.
pub(crate) fn cpu_with_input(args: &[&str], input: &str) -> Run {
    let args = [args, &["--device", "cpu", "--kv", "f32"]].concat();
    let mut child = command(&args)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    write_and_close(&mut child, input);
    child.wait_with_output().expect("the program ends").into()
}

fn write_and_close(child: &mut Child, input: &str) {
    let mut stdin = child.stdin.take().expect("is piped");
    // A program that has failed reads no more.
    let _ = stdin.write_all(input.as_bytes());
}

/// A tiny model of `tests/data/models`.
pub(crate) fn fixture(name: &str) -> String {
    fixture_path(name).to_str().expect("UTF-8").to_owned()
}

pub(crate) fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/models")
        .join(name)
}

/// Data beside the repository, where it is.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("is there")).expect("is JSON")
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("a list of ids");
    list.iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect()
}

/// `1,2,3`.
pub(crate) fn joined(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The keys of an object, in order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

/// The tensor `logits` of a safetensors file: its shape and values.
pub(crate) fn read_logits(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).expect("is there");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("is safetensors");
    let logits = tensors.tensor("logits").expect("has logits");
    assert_eq!(logits.dtype(), safetensors::Dtype::F32);
    (
        logits.shape().to_vec(),
        bytemuck::pod_collect_to_vec(logits.data()),
    )
}

/// Largest difference in units of the wanted values' standard deviation.
pub(crate) fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let mean = want.iter().map(|&x| f64::from(x)).sum::<f64>() / want.len() as f64;
    let variance = want
        .iter()
        .map(|&x| (f64::from(x) - mean).powi(2))
        .sum::<f64>()
        / want.len() as f64;
    let worst = got
        .iter()
        .zip(want)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max);
    worst / variance.sqrt()
}

/// A folder of one test, empty at first and gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).expect("can be written");
        self.name(name)
    }

    /// A copy of a tiny model with another config.
    pub(crate) fn model(&self, fixture: &str, change: impl FnOnce(&mut Value)) -> String {
        let to = self.path(fixture);
        fs::create_dir_all(&to).expect("a folder can be made");
        for entry in fs::read_dir(fixture_path(fixture)).expect("is there") {
            let from = entry.expect("is there").path();
            fs::copy(&from, to.join(from.file_name().expect("a file"))).expect("can be copied");
        }
        let mut config = read_json(&to.join("config.json"));
        change(&mut config);
        fs::write(to.join("config.json"), config.to_string()).expect("can be written");
        self.name(fixture)
    }

    /// Names of what lies in it.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("is there");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry
                .expect("is there")
                .file_name()
                .into_string()
                .expect("UTF-8")
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
