use std::fs;
use std::path::Path;

use crate::program::{
    Folder, cpu, distance, fixture, fixture_path, ids, keys, read_json, read_logits, run, shared,
};

#[test]
fn tokenize_gives_the_ids_of_hugging_face() {
    for name in ["llama-gqa-tied", "mistral-window", "qwen3"] {
        let golden = read_json(&fixture_path(name).join("golden.json"));
        for case in golden["cases"].as_array().expect("a list") {
            let Some(text) = case["prompt"].as_str() else {
                continue;
            };
            let got = run(&["tokenize", &fixture(name), "-p", text, "--bos", "--json"]).json();
            assert_eq!(keys(&got), ["ids"]);
            assert_eq!(got["ids"], case["prompt_ids"], "{name} {text:?}");
            let plain = run(&["tokenize", &fixture(name), "-p", text]).ok();
            let n_bos = usize::from(name != "qwen3");
            let expected = crate::program::joined(&ids(&case["prompt_ids"])[n_bos..]);
            assert_eq!(plain, format!("{expected}\n"));
        }
    }
}

#[test]
fn tokenize_reads_control_tokens_only_where_it_is_told() {
    let args = [
        "tokenize",
        &fixture("qwen3"),
        "-p",
        "<|im_start|>the",
        "--json",
    ];
    let plain = ids(&run(&args).json()["ids"]);
    let special = ids(&run(&[&args[..], &["--special"]].concat()).json()["ids"]);
    assert_eq!(special[0], 318);
    assert!(!plain.contains(&318) && plain.len() > special.len());
    let pieces = run(&[
        "tokenize",
        &fixture("qwen3"),
        "-p",
        "<|im_start|>the",
        "--special",
        "--pieces",
    ])
    .ok();
    assert!(pieces.contains("318 \"<|im_start|>\""), "{pieces}");
}

#[test]
fn tokenize_reads_files_that_are_a_vocabulary_only() {
    let Some(folder) = shared("tokenizers/vectors") else {
        return;
    };
    for (model, name) in [
        ("ggml-vocab-gpt-2.gguf", "gpt-2"),
        ("ggml-vocab-phi-3.gguf", "phi-3"),
    ] {
        let model = folder.join(model);
        let inputs = fs::read_to_string(folder.join(format!("{name}.inp"))).expect("is there");
        let outputs = fs::read_to_string(folder.join(format!("{name}.out"))).expect("is there");
        let text = inputs
            .split("\n__ggml_vocab_test__\n")
            .find(|text| text.starts_with("Hello, y'all"))
            .expect("a text");
        let got = run(&["tokenize", model.to_str().expect("UTF-8"), "-p", text])
            .ok()
            .replace(',', " ");
        let at = inputs
            .split("\n__ggml_vocab_test__\n")
            .position(|t| t == text)
            .expect("is there");
        assert_eq!(
            got.trim(),
            outputs.lines().nth(at).expect("is there").trim(),
            "{name}"
        );
    }
}

#[test]
fn inspect_shows_the_config_the_tensors_and_the_memory() {
    let got = run(&["inspect", &fixture("llama-bias"), "--json", "--ctx", "64"]).json();
    let config = read_json(&fixture_path("llama-bias").join("config.json"));
    assert_eq!(got["config"]["architecture"], "llama");
    assert_eq!(got["config"]["dim"], config["hidden_size"]);
    assert_eq!(got["config"]["n_kv_heads"], config["num_key_value_heads"]);
    assert_eq!(got["config"]["norm_eps"], config["rms_norm_eps"]);
    assert_eq!(
        (&got["n_ctx"], &got["unsupported"]),
        (&64.into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (got["chat_template"].as_bool(), got["tokenizer"].is_null()),
        (Some(false), true)
    );
    let total = |format: &str| got["memory"][format]["total"].as_u64().expect("a number");
    assert_eq!(total("auto"), total("f32"));
    assert!(total("f32") > total("f16") && total("f16") > total("q8") && total("q8") > total("q4"));
    let larger = run(&["inspect", &fixture("llama-bias"), "--json", "--ctx", "128"]).json();
    let cache =
        |got: &serde_json::Value| got["memory"]["auto"]["cache"].as_u64().expect("a number");
    assert_eq!(cache(&larger), 2 * cache(&got));

    let text = run(&["inspect", &fixture("gguf-q4_k_m/model.gguf"), "--tensors"]).ok();
    for words in [
        "GGUF version 3",
        "q4_k",
        "q6_k",
        "n_layers",
        "chat template",
        "blk.0.attn_q.weight",
        "--weights",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn inspect_lists_tensors_that_are_not_used() {
    let folder = Folder::new("unused");
    // The tensors of a layer more than the config has.
    let model = folder.model("smollm2", |config| {
        let n = config["num_hidden_layers"].as_u64().expect("a number");
        config["num_hidden_layers"] = (n - 1).into();
    });
    let text = run(&["inspect", &model]).ok();
    assert!(text.contains("not used: model.layers."), "{text}");
}

/// Logits of a model by the program.
fn logits(folder: &Folder, args: &[&str]) -> Vec<f32> {
    let out = folder.name("logits");
    cpu(&[
        &["logits", "--ids", "1,5,9,33,7,2,64,11", "--out", &out],
        args,
    ]
    .concat())
    .ok();
    read_logits(&folder.path("logits")).1
}

#[test]
fn a_quantised_model_gives_the_logits_of_weights_quantised_while_loading() {
    let folder = Folder::new("quantize");
    for (name, source) in [
        ("qwen3", "qwen3"),
        ("qwen3.gguf", "qwen3/model.gguf"),
        ("mistral.gguf", "mistral-window/model.gguf"),
    ] {
        let source = fixture(source);
        let whole = logits(&folder, &[&source]);
        for format in ["q8", "q4"] {
            let out = folder.name(&format!("{format}-{name}"));
            let said = run(&["quantize", &source, &out, "--weights", format]);
            assert!(said.stderr.contains("written"), "{}", said.stderr);
            assert_eq!(said.ok(), "");
            let expected = logits(&folder, &[&source, "--weights", format]);
            let got = logits(&folder, &[&out]);
            assert_eq!(got, expected, "{out}");
            assert!(
                distance(&got, &whole) > 1e-4,
                "{out}: nothing was quantised"
            );

            // It is a whole model: text goes in and out.
            let text = cpu(&["generate", &out, "-p", "the boy", "-n", "4", "--temp", "0"]).ok();
            assert!(!text.is_empty());
            let inspected = run(&["inspect", &out, "--json"]).json();
            let dtype = if format == "q8" { "q8_0" } else { "q4_0" };
            assert!(
                inspected["types"][dtype]["tensors"].as_u64() > Some(4),
                "{inspected}"
            );
        }
    }
}

#[test]
fn quantize_writes_over_nothing_and_leaves_nothing_half_done() {
    let folder = Folder::new("quantize-refused");
    let model = fixture("qwen3");
    let out = folder.write("taken", "precious");
    let got = run(&["quantize", &model, &out, "--weights", "q8"]);
    assert!(got.error(1).contains("taken"), "{}", got.stderr);
    assert_eq!(fs::read_to_string(&out).expect("is there"), "precious");

    let got = run(&[
        "quantize",
        &model,
        &folder.name("nowhere/out"),
        "--weights",
        "q8",
    ]);
    assert!(
        got.code == Some(0) || got.error(1).contains("nowhere"),
        "{}",
        got.stderr
    );
    let _ = fs::remove_dir_all(folder.path("nowhere"));

    let got = run(&["quantize", &model, &folder.name("out")]);
    assert!(got.error(2).contains("q8 or q4"), "{}", got.stderr);

    // A NaN among the weights is found when half is written.
    let broken = folder.model("qwen3", |_| ());
    let file = Path::new(&broken).join("model.safetensors");
    let mut bytes = fs::read(&file).expect("is there");
    let n = bytes.len();
    bytes[n - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).expect("can be written");
    let got = run(&["quantize", &broken, &folder.name("out"), "--weights", "q4"]);
    assert!(got.error(1).contains("NaN"), "{}", got.stderr);
    assert_eq!(folder.entries(), ["qwen3", "taken"]);
}

#[test]
fn completions_are_made_for_each_shell() {
    for (shell, words) in [
        ("bash", "complete"),
        ("zsh", "#compdef deputy"),
        ("fish", "complete -c deputy"),
        ("powershell", "Register"),
    ] {
        let script = run(&["completions", shell]).ok();
        assert!(
            script.contains(words) && script.contains("perplexity"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = run(&["--help"]).ok();
    for command in [
        "chat",
        "generate",
        "logits",
        "tokenize",
        "template",
        "perplexity",
        "bench",
        "inspect",
        "quantize",
        "devices",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let help = run(&[command, "--help"]).ok();
        assert!(
            help.contains("Example") && help.contains(&format!("deputy {command}")),
            "{command}: {help}"
        );
    }
}
