use std::fs;
use std::path::Path;

use crate::program::{Folder, cpu, cpu_with_input, fixture, fixture_path, read_json, run};

/// The program fails with this code and these words in its one line.
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let got = cpu(args);
    let error = got.error(code);
    for word in words {
        assert!(
            error.contains(word),
            "{args:?}: {word:?} is not in: {error}"
        );
    }
}

/// The command line is wrong by itself: clap says so, with the usage.
fn misused(args: &[&str], words: &[&str]) {
    let got = run(args);
    assert_eq!(
        (got.code, got.stdout.as_str()),
        (Some(2), ""),
        "{args:?}: {}",
        got.stderr
    );
    for word in words {
        assert!(
            got.stderr.contains(word),
            "{args:?}: {word:?} is not in: {}",
            got.stderr
        );
    }
}

#[cfg(not(feature = "default-model"))]
#[test]
fn without_a_model_the_program_says_what_to_pass() {
    for command in [
        &["chat"][..],
        &["generate", "-p", "x"],
        &["logits", "--ids", "1"],
        &["tokenize", "-p", "x"],
        &["template", "--messages", "x.json"],
        &["bench"],
        &["inspect"],
        &["routes", "-p", "x"],
    ] {
        refused(
            command,
            2,
            &["no MODEL was given", "for example: deputy", command[0]],
        );
    }
}

#[test]
fn arguments_that_are_missing_are_named() {
    misused(&["perplexity"], &["<MODEL>", "<FILE>", "Usage"]);
    misused(&["quantize"], &["<MODEL>", "<OUT>", "Usage"]);
}

#[test]
fn options_that_cannot_be_are_refused_with_what_can_be() {
    let model = fixture("qwen3");
    let generate = |more: &[&'static str], words: &[&str]| {
        misused(&[&["generate", &model, "-p", "x"], more].concat(), words)
    };
    generate(&["--kv", "int3"], &["f32, f16, q8, q4"]);
    for cache in ["q8", "q4"] {
        let got = run(&[
            "generate", &model, "-p", "x", "--device", "cpu", "--kv", cache,
        ]);
        let error = got.error(1);
        let words = [cache, "blocks of 32", "heads have 16", "--kv f16"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    generate(&["--weights", "q3"], &["auto, f32, f16, q8, q4"]);
    generate(&["--ctx", "0"], &["--ctx"]);
    generate(&["--memory", "much"], &["4G"]);
    generate(&["--memory=-1"], &["--memory"]);
    generate(&["--cpu-kernel", "matrix"], &["attention", "rms_norm"]);
    generate(&["--seed", "x"], &["--seed"]);
    generate(&["--bogus"], &["--bogus"]);
    misused(
        &["generate", &model, "-p", "x", "--prompt-ids", "1"],
        &["cannot be used with"],
    );
    misused(
        &["generate", &model, "--prompt-ids", "1,two"],
        &["two", "1,2,3"],
    );
    misused(&["logits", &model], &["--ids"]);
    misused(&["bogus"], &["bogus"]);
    misused(&["bench", &model, "-r", "0"], &["-r"]);
    misused(&["completions", "tcsh"], &["bash"]);

    for (option, value) in [
        ("--temp", "-1"),
        ("--temp", "nan"),
        ("--top-p", "2"),
        ("--min-p", "-0.1"),
        ("--repeat-penalty", "0"),
    ] {
        let option_value = format!("{option}={value}");
        refused(
            &["generate", &model, "-p", "x", &option_value],
            2,
            &["sampler", "expected"],
        );
    }
    refused(
        &[
            "perplexity",
            &model,
            &fixture("qwen3/config.json"),
            "--window",
            "64",
            "--ctx",
            "32",
        ],
        2,
        &["--window", "32"],
    );
    refused(
        &[
            "bench", &model, "-p", "8", "-n", "8", "-d", "60", "--ctx", "64",
        ],
        2,
        &["--ctx", "69"],
    );
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers() {
    let model = fixture("qwen3");
    refused(
        &["generate", &model, "-p", "x", "--ctx", "129"],
        1,
        &["129", "128"],
    );
    refused(&["inspect", &model, "--ctx", "129"], 1, &["129", "128"]);
    refused(
        &["generate", &model, "-p", "x", "--memory", "10K"],
        1,
        &["10240", "weights", "cache", "--weights q4"],
    );
    assert_eq!(
        cpu(&[
            "generate", &model, "-p", "x", "-n", "1", "--memory", "1.5MiB"
        ])
        .code,
        Some(0)
    );
}

#[test]
fn prompts_that_cannot_be_are_refused() {
    let model = fixture("qwen3");
    let long = "the boy lit the lamp ".repeat(40);
    refused(
        &["generate", &model, "-p", &long],
        1,
        &["tokens", "128 positions", "--ctx"],
    );
    let ids = vec!["1"; 129].join(",");
    refused(&["logits", &model, "--ids", &ids], 1, &["129", "128"]);
    refused(
        &["generate", &model, "--prompt-ids", "5,320"],
        1,
        &["320", "vocabulary"],
    );
    refused(
        &["logits", &model, "--ids", "4294967295"],
        1,
        &["4294967295", "vocabulary"],
    );
    refused(&["generate", &model, "-p", ""], 1, &["no tokens"]);

    let no_tokenizer = fixture("llama-bias");
    for args in [
        &["generate", &no_tokenizer, "-p", "x"][..],
        &["chat", &no_tokenizer, "-p", "x"],
        &["tokenize", &no_tokenizer, "-p", "x"],
        &[
            "perplexity",
            &no_tokenizer,
            &fixture("llama-bias/config.json"),
        ],
        &[
            "generate",
            &no_tokenizer,
            "--prompt-ids",
            "1",
            "--stop",
            "x",
        ],
    ] {
        refused(args, 1, &["tokenizer", "llama-bias"]);
    }
    let input = "x".repeat(1 << 20);
    let got = cpu_with_input(&["generate", &model], &input);
    assert!(
        got.error(1).contains("at most 32768 bytes"),
        "{}",
        got.stderr
    );
}

#[test]
fn files_that_are_not_there_are_named() {
    let model = fixture("qwen3");
    refused(
        &["generate", "no/such/model", "-p", "x"],
        1,
        &["no/such/model"],
    );
    refused(
        &["perplexity", &model, "no/such/text"],
        1,
        &["no/such/text"],
    );
    refused(
        &["template", &model, "--messages", "no/such/file"],
        1,
        &["no/such/file"],
    );
    refused(
        &["logits", &model, "--ids", "1", "--out", "no/such/folder/x"],
        1,
        &["no/such/folder/x"],
    );
    let folder = Folder::new("errors");
    refused(&["inspect", &folder.name("")], 1, &["config.json"]);
    let text = folder.write("text", "this is no model, and long enough to look like one");
    refused(&["inspect", &text], 1, &["text"]);
    let empty = folder.write("empty", "");
    refused(&["perplexity", &model, &empty], 1, &["empty", "expected"]);
    let latin = folder.write("latin", b"caf\xe9");
    refused(&["perplexity", &model, &latin], 1, &["latin", "UTF-8"]);
    for (name, messages) in [
        ("not-json", "{"),
        ("not-a-list", "{\"role\": 1}"),
        ("no-role", "[{\"content\": \"x\"}]"),
    ] {
        let file = folder.write(name, messages);
        refused(&["template", &model, "--messages", &file], 1, &[name]);
    }
}

#[test]
fn broken_models_are_refused_by_every_command() {
    let folder = Folder::new("broken");
    let cut = folder.model("qwen3", |_| ());
    let file = Path::new(&cut).join("model.safetensors");
    let bytes = fs::read(&file).expect("is there");
    fs::write(&file, &bytes[..bytes.len() - 5]).expect("can be written");
    let gguf = fs::read(fixture_path("qwen3/model.gguf")).expect("is there");
    let cut_gguf = folder.write("cut.gguf", &gguf[..gguf.len() - 5]);
    let out = folder.name("out");
    for (model, name) in [(&cut, "model.safetensors"), (&cut_gguf, "cut.gguf")] {
        for args in [
            &["generate", model, "-p", "x"][..],
            &["chat", model, "-p", "x"],
            &["inspect", model],
            &["bench", model],
            &["logits", model, "--ids", "1", "--out", &out],
            &["quantize", model, &out, "--weights", "q8"],
            &["perplexity", model, &fixture("qwen3/config.json")],
        ] {
            refused(args, 1, &[name]);
        }
    }
    assert_eq!(folder.entries(), ["cut.gguf", "qwen3"]);

    let missing = folder.model("llama-bias", |config| {
        config["num_hidden_layers"] = 9.into()
    });
    refused(
        &["generate", &missing, "--prompt-ids", "1"],
        1,
        &["missing", "model.layers."],
    );
}

#[test]
fn models_that_are_not_supported_are_refused_by_name() {
    let folder = Folder::new("refused");
    let expected = read_json(&fixture_path("expected.json"));
    let weights = fixture_path("llama-bias/model.safetensors");
    for (name, case) in expected["refused"].as_object().expect("an object") {
        let model = folder.path(name);
        fs::create_dir_all(&model).expect("a folder can be made");
        fs::copy(
            fixture_path("refused").join(name).join("config.json"),
            model.join("config.json"),
        )
        .expect("is there");
        fs::copy(&weights, model.join("model.safetensors")).expect("is there");
        let model = folder.name(name);
        let words: Vec<&str> = case["message_names"]
            .as_array()
            .expect("words")
            .iter()
            .filter_map(|w| w.as_str())
            .collect();
        refused(&["generate", &model, "--prompt-ids", "1"], 1, &words);

        // What there is to see is shown all the same.
        let got = run(&["inspect", &model]);
        assert_eq!(got.code, Some(1), "{name}");
        assert!(got.stdout.contains("tensors"), "{name}: {}", got.stdout);
        assert!(
            words.iter().all(|word| got.stderr.contains(word)),
            "{name}: {}",
            got.stderr
        );
        let got = run(&["inspect", &model, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&got.stdout).expect("is JSON");
        let reason = json["unsupported"].as_str().expect("a reason");
        assert!(
            words.iter().all(|word| reason.contains(word)),
            "{name}: {reason}"
        );
    }
}
