use deputy::{DeviceChoice, LoadOptions, SessionOptions};

use crate::support::*;

/// SAFETY: a tiny f32 model against transformers, in units of the logits' deviation.
const LIMIT: f64 = 1e-4;

/// Every model of `expected.json`, with its files: the folder, the GGUF beside it, or the GGUF alone.
fn every_fixture() -> Vec<(String, std::path::PathBuf)> {
    let list = json(&fixtures().join("expected.json"));
    let names: Vec<&String> = list["models"].as_object().unwrap().keys().collect();
    assert!(names.len() >= 25, "{names:?}");
    let mut found = vec![];
    for name in names {
        let folder = fixtures().join(name);
        if folder.join("config.json").exists() {
            found.push((name.clone(), folder.clone()));
        }
        if folder.join("model.gguf").exists() {
            found.push((format!("{name} (gguf)"), folder.join("model.gguf")));
        }
    }
    found
}

fn folder_of(path: &std::path::Path) -> &std::path::Path {
    if path.is_dir() {
        path
    } else {
        path.parent().unwrap()
    }
}

#[test]
fn every_architecture_and_format_agrees_with_transformers() {
    let mut failures = vec![];
    for device in devices() {
        for (name, path) in every_fixture() {
            let (ids, want) = expected(folder_of(&path));
            let engine = load(&path, exact(device.clone()));
            let got = logits(&mut all_logits(&engine, 256), &ids);
            match compare(&got, &want, want.len() / ids.len(), LIMIT) {
                Ok(worst) => println!("{name} on {}: {worst:.1e}", engine.device()),
                Err(e) => failures.push(format!("{name} on {}: {e}", engine.device())),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_prefill_chunks_and_single_tokens_agree() {
    let mut failures = vec![];
    for device in devices() {
        for (name, path) in every_fixture() {
            let (ids, want) = expected(folder_of(&path));
            let vocab = want.len() / ids.len();
            let engine = load(&path, exact(device.clone()));
            for max_rows in [1, 2, 8] {
                let got = logits(&mut all_logits(&engine, max_rows), &ids);
                if let Err(e) = compare(&got, &want, vocab, LIMIT) {
                    failures.push(format!(
                        "{name} in pieces of {max_rows} on {}: {e}",
                        engine.device()
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A device takes the kernels that are made for its kind: here it takes all of them.
#[test]
fn every_kind_of_kernels_agrees_with_transformers() {
    if !has_gpu() {
        return;
    }
    let mut failures = vec![];
    for (name, path) in every_fixture() {
        let (ids, want) = expected(folder_of(&path));
        let vocab = want.len() / ids.len();
        for kind in every_kind() {
            let options = LoadOptions {
                capabilities: Some(kind),
                ..exact(DeviceChoice::Index(0))
            };
            let engine = load(&path, options);
            for max_rows in [1, 256] {
                let got = logits(&mut all_logits(&engine, max_rows), &ids);
                if let Err(e) = compare(&got, &want, vocab, LIMIT) {
                    failures.push(format!("{name}, {kind:?}, {max_rows} rows: {e}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn configs_of_transformers_4_give_the_same_logits() {
    for name in ["llama3-rope", "llama-linear-rope", "qwen3"] {
        let folder = fixtures().join(name);
        let mut files = read_folder(&folder);
        let old = files.remove("config-v4.json").unwrap();
        assert_ne!(
            files.insert("config.json".to_owned(), old.clone()),
            Some(old)
        );
        let engine = load_file(
            open_memory(files).unwrap(),
            exact(deputy::DeviceChoice::Cpu),
        )
        .unwrap();
        let (ids, want) = expected(&folder);
        let got = logits(&mut all_logits(&engine, 256), &ids);
        compare(&got, &want, want.len() / ids.len(), LIMIT)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn a_wrong_config_is_caught() {
    let folder = fixtures().join("llama3-rope");
    let (ids, want) = expected(&folder);
    for (from, to) in [
        ("\"factor\": 8.0", "\"factor\": 4.0"),
        ("\"rope_theta\": 500.0", "\"rope_theta\": 400.0"),
    ] {
        let mut files = read_folder(&folder);
        let config = String::from_utf8(files["config.json"].clone()).unwrap();
        assert!(config.contains(from), "{config}");
        files.insert(
            "config.json".to_owned(),
            config.replace(from, to).into_bytes(),
        );
        let engine = load_file(
            open_memory(files).unwrap(),
            exact(deputy::DeviceChoice::Cpu),
        )
        .unwrap();
        let got = logits(&mut all_logits(&engine, 256), &ids);
        assert!(
            compare(&got, &want, want.len() / ids.len(), LIMIT).is_err(),
            "not caught: {to}"
        );
    }
}

#[test]
fn batch_mates_do_not_change_a_sequence() {
    for device in devices() {
        for name in ["llama-gqa-tied", "mistral-window", "qwen3"] {
            let folder = fixtures().join(name);
            let (ids, want) = expected(&folder);
            let vocab = want.len() / ids.len();
            let engine = load(&folder, exact(device.clone()));
            let options = SessionOptions {
                n_sequences: 3,
                all_logits: true,
                max_rows: 16,
                ..Default::default()
            };
            let mut batch = session(&engine, options);
            // Sequence 1 is the one we know; 0 and 2 get other tokens, at another pace.
            let other = |i: usize, by: usize| ids[(i * by + 1) % ids.len()];
            let mut tokens = vec![];
            let mut wanted = vec![];
            for (i, &id) in ids.iter().enumerate() {
                tokens.push((0, other(i, 3)));
                wanted.push(tokens.len() as u32);
                tokens.push((1, id));
                if i % 2 == 0 {
                    tokens.push((2, other(i, 7)));
                }
            }
            let got = pollster::block_on(batch.forward(&tokens, &wanted)).unwrap();
            compare(&got, &want, vocab, LIMIT)
                .unwrap_or_else(|e| panic!("{name} on {}: {e}", engine.device()));
        }
    }
}

#[test]
fn one_kernel_at_a_time_can_run_on_the_cpu() {
    if !has_gpu() {
        return;
    }
    let folder = fixtures().join("qwen3");
    let (ids, want) = expected(&folder);
    for kernel in [
        "embed",
        "rms_norm",
        "matmul",
        "matvec",
        "rope",
        "cache_write",
        "attention",
        "gated_act",
        "add",
        "gather_rows",
    ] {
        let mut options = exact(deputy::DeviceChoice::Index(0));
        options.cpu_kernel = Some(kernel.to_owned());
        let engine = load(&folder, options);
        let got = logits(&mut all_logits(&engine, 8), &ids);
        compare(&got, &want, want.len() / ids.len(), LIMIT)
            .unwrap_or_else(|e| panic!("{kernel}: {e}"));
    }
}

#[test]
fn an_f16_cache_costs_little() {
    for device in devices() {
        let folder = fixtures().join("llama-gqa-tied");
        let (ids, want) = expected(&folder);
        let mut options = exact(device);
        options.cache = Some(deputy::kernels::CacheType::F16);
        let engine = load(&folder, options);
        let got = logits(&mut all_logits(&engine, 256), &ids);
        // Rounding keys and values to 11 bits moves logits by some thousandths of their deviation.
        let worst = compare(&got, &want, want.len() / ids.len(), 2e-2).unwrap();
        assert!(worst > 1e-6, "the cache is not f16: {worst:.1e}");
    }
}
