//! What it costs to refuse a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use deputy::file::ModelFile;
use pollster::block_on;

use crate::common::*;

/// Files whose rejection must not cost more than their size allows.
fn costly_files() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let absurd = Gguf {
        n_keys: Some(100_000),
        n_tensors: Some(65_536),
        ..Gguf::default()
    };
    let tensor = |i| GgufTensor {
        name: format!("{:x}", i % 65_535),
        dims: vec![],
        kind: 77,
        offset: 0,
    };
    let tensors = Gguf {
        tensors: (0..65_536).map(tensor).collect(),
        ..Gguf::default()
    };
    let key = |i| (format!("{:x}", i % 99_999), typed(0, &[1]));
    let keys = Gguf {
        keys: (0..100_000).map(key).collect(),
        ..Gguf::default()
    };
    let empty_strings = Gguf::default()
        .key("k", array(8, 2_000_000, &vec![0; 16_000_000]))
        .key("k", vec![]);
    let one_string = Gguf::default()
        .key("k", string(&"x".repeat(60 << 20)))
        .key("k", vec![]);
    let words = Gguf::default()
        .key("k", array(8, 1_000_000, &text("word").repeat(1_000_000)))
        .key("k", vec![]);
    let nested = Gguf::default()
        .key("k", array(9, 100_000, &inner(0, 1, &[1]).repeat(100_000)))
        .key("k", vec![]);
    let header = |entries: Vec<String>| safetensors(&format!("{{{}}}", entries.join(",")), &[0]);
    let empty = header(
        (0..65_536)
            .map(|i| entry(&format!("{i:x}"), "U8", "[0]", 0, 0))
            .collect(),
    );
    let axes = header(vec![entry(
        "t",
        "U8",
        &format!("[{}1]", "1,".repeat(10 << 20)),
        0,
        1,
    )]);
    let metadata = header(vec![format!(
        r#""__metadata__":{{{}"":""}}"#,
        r#""":"","#.repeat(2 << 20)
    )]);
    let index: Vec<String> = (0..500_000)
        .map(|i| format!(r#""{i:x}":"{}.safetensors""#, i % 9))
        .collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, index.join(",")).into_bytes();
    let config_keys: Vec<String> = (0..49_000).map(|i| format!(r#""{i:x}":0,"#)).collect();
    vec![
        ("absurd counts", "m.gguf", absurd.bytes()),
        ("many tensors", "m.gguf", tensors.bytes()),
        ("many keys", "m.gguf", keys.bytes()),
        ("empty strings", "m.gguf", empty_strings.bytes()),
        ("one string", "m.gguf", one_string.bytes()),
        ("words", "m.gguf", words.bytes()),
        ("nested arrays", "m.gguf", nested.bytes()),
        ("many empty tensors", "model.safetensors", empty),
        ("many axes", "model.safetensors", axes),
        ("much metadata", "model.safetensors", metadata),
        ("a long index", "model.safetensors.index.json", index),
        (
            "a flat config",
            "config.json",
            [b"[".to_vec(), b"0,".repeat(500_000), b"0]".to_vec()].concat(),
        ),
        (
            "a config of keys",
            "config.json",
            format!("{{{}", config_keys.concat()).into_bytes(),
        ),
        ("a deep config", "config.json", b"{\"\":".repeat(200_000)),
    ]
}

/// The part that runs alone in a process, so that its peak memory is its own.
#[test]
fn a_costly_file_is_refused_in_a_process_of_its_own() {
    let Ok(path) = std::env::var("DEPUTY_COSTLY_FILE") else {
        return;
    };
    let path = Path::new(&path);
    let size = fs::metadata(path).expect("a file").len();
    let before = peak_memory();
    let start = Instant::now();
    let error = block_on(ModelFile::open_path(path))
        .expect_err("refused")
        .to_string();
    let (took, peak) = (start.elapsed(), peak_memory() - before);
    println!("{size} bytes: {} KiB more, {took:?}: {error}", peak >> 10);
    assert!(
        peak <= 2 * size + (16 << 20),
        "{peak} bytes for a file of {size}"
    );
    assert!(
        took <= Duration::from_secs(1 + (size >> 20)),
        "{took:?} for a file of {size} bytes"
    );
}

#[test]
fn refusing_a_file_costs_at_most_twice_its_size_and_16_mib() {
    if !cfg!(target_os = "linux") {
        println!("skipped: peak memory is read from /proc");
        return;
    }
    for (claim, name, bytes) in costly_files() {
        let path = folder("costly");
        if name != "config.json" {
            fs::write(path.join("config.json"), "{}").expect("a file to write");
        }
        fs::write(path.join(name), bytes).expect("a file to write");
        let output = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "costs::a_costly_file_is_refused_in_a_process_of_its_own",
                "--nocapture",
            ])
            .env("DEPUTY_COSTLY_FILE", path.join(name))
            .output()
            .expect("this test again");
        let text = String::from_utf8_lossy(&output.stdout);
        println!(
            "{claim}: {}",
            text.lines()
                .find(|line| line.contains("KiB more"))
                .unwrap_or("no figures")
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("KiB more"),
            "{claim}: {text}{errors}"
        );
    }
}

/// Most memory that this process ever held, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        << 10
}
