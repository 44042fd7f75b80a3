//! Valid files with random changes.

use std::time::{Duration, Instant};

use deputy::file::{Error, ModelFile};

use crate::common::*;

/// A parser under test: valid files to change, and how to open one.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    open: fn(Vec<u8>) -> Result<ModelFile, Error>,
}

fn targets() -> Vec<Target> {
    let quantised = |list: &str| {
        format!(
            r#"{{"quantization_config":{{"quant_method":"deputy","version":1,"tensors":{{{list}}}}}}}"#
        )
    };
    let index = r#"{"metadata":{"total_size":30},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"1.safetensors"}}"#;
    vec![
        Target {
            name: "gguf",
            seeds: vec![Gguf::small().bytes(), Gguf { version: 2, ..Gguf::default() }.tensor("t", &[32], 2, 18).bytes()],
            open: open_gguf,
        },
        Target { name: "safetensors", seeds: vec![small_safetensors()], open: open_safetensors },
        Target {
            name: "index",
            seeds: vec![index.into()],
            open: |index| {
                let files = [("model.safetensors.index.json", index), ("1.safetensors", small_safetensors())];
                open_folder(files.into_iter().chain([("config.json", b"{}".to_vec())]))
            },
        },
        Target {
            name: "config",
            seeds: vec![quantised(r#""w":"q4_0","v":"q8_0""#).into()],
            open: |config| {
                let entries = [entry("w", "U8", "[2,36]", 0, 72), entry("v", "U8", "[1,34]", 72, 106)];
                let weights = safetensors(&format!("{{{}}}", entries.join(",")), &[0; 106]);
                open_folder([("config.json", config), ("model.safetensors", weights)])
            },
        },
        Target {
            name: "tokenizer_config",
            seeds: vec![br#"{"chat_template":[{"name":"default","template":"{{ x }}"}],"added_tokens_decoder":{"0":{}}}"#.to_vec()],
            open: |config| {
                let files = [("config.json", b"{}".to_vec()), ("model.safetensors", small_safetensors())];
                open_folder(files.into_iter().chain([("tokenizer_config.json", config)]))
            },
        },
    ]
}

/// Opens mutation number `case` and, where it is still a model, reads all of it. A panic says which case it was.
fn open_mutated(target: &Target, case: u64) -> bool {
    let mut random = Random(case);
    let mut bytes = target.seeds[random.below(target.seeds.len())].clone();
    mutate(&mut bytes, &mut random);
    let n_bytes = bytes.len() as u64;
    let start = Instant::now();
    let result = std::panic::catch_unwind(|| {
        let Ok(model) = (target.open)(bytes) else {
            return false;
        };
        for (name, tensor) in &model.tensors {
            assert!(
                tensor_bytes(&model, name).len() as u64 <= n_bytes.max(4096),
                "{name}"
            );
            if model.dtype(tensor).is_ok() {
                let (rows, _) = tensor.shape.rows_cols().unwrap_or((1, 1));
                assert_eq!(
                    model.rows(tensor, 0..rows).expect("all rows"),
                    0..tensor.n_bytes(),
                    "{name}"
                );
            }
        }
        true
    });
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(1),
        "{} case {case} took {took:?}",
        target.name
    );
    result.unwrap_or_else(|_| panic!("{} case {case} panicked", target.name))
}

#[test]
fn no_mutation_of_a_valid_file_panics_or_takes_long() {
    for target in targets() {
        let n_accepted = (0..4000)
            .filter(|&case| open_mutated(&target, case))
            .count();
        println!(
            "{}: {n_accepted} of 4000 mutations are still models",
            target.name
        );
        assert!(
            (1..4000).contains(&n_accepted),
            "{}: mutations that all do the same test nothing",
            target.name
        );
    }
}

/// Runs for `DEPUTY_FUZZ_SECONDS` (default 2) on each parser.
#[test]
fn fuzzing_finds_no_crash() {
    let seconds =
        std::env::var("DEPUTY_FUZZ_SECONDS").map_or(2, |s| s.parse().expect("a number of seconds"));
    for target in targets() {
        let start = Instant::now();
        // Beyond the cases of the test above, and other ones in longer runs.
        let mut case = 1 << 32;
        while start.elapsed() < Duration::from_secs(seconds) {
            open_mutated(&target, case);
            case += 1;
        }
        println!("{}: {} inputs", target.name, case - (1 << 32));
    }
}
