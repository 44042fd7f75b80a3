use crate::program::{
    Folder, cpu, cpu_with_input, distance, fixture, ids, joined, keys, read_logits, shared,
};
use serde_json::Value;

#[test]
fn logits_writes_those_of_every_position() {
    let folder = Folder::new("logits");
    for name in ["llama-bias", "qwen3", "gguf-q4_k"] {
        let file = crate::program::fixture_path(name);
        let bytes = std::fs::read(file.join("logits.safetensors")).expect("is there");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("is safetensors");
        let expected_ids: Vec<u32> =
            bytemuck::pod_collect_to_vec(tensors.tensor("ids").expect("has ids").data());
        let (shape, expected) = read_logits(&file.join("logits.safetensors"));

        let gguf = file.join("model.gguf");
        let model = if name.starts_with("gguf") {
            gguf.to_str().expect("UTF-8").to_owned()
        } else {
            fixture(name)
        };
        let out = folder.name("logits.safetensors");
        let list = joined(&expected_ids);
        let got = cpu(&[
            "logits", &model, "--ids", &list, "--out", &out, "--top", "3", "--json",
        ])
        .json();
        let (got_shape, logits) = read_logits(&folder.path("logits.safetensors"));
        assert_eq!(got_shape, shape, "{name}");
        let distance = distance(&logits, &expected);
        assert!(distance <= 1e-4, "{name}: {distance}");
        assert_eq!(folder.entries(), ["logits.safetensors"]);

        // The last row's largest, in order, with and without the file.
        assert_eq!(keys(&got), ["top"]);
        let last = &logits[logits.len() - shape[1]..];
        let mut order: Vec<usize> = (0..last.len()).collect();
        order.sort_by(|&a, &b| last[b].total_cmp(&last[a]));
        let top: Vec<(usize, f32)> = order[..3].iter().map(|&id| (id, last[id])).collect();
        let alone = cpu(&["logits", &model, "--ids", &list, "--top", "3", "--json"]).json();
        for got in [got, alone] {
            let got: Vec<(usize, f32)> = serde_json::from_value(got["top"].clone()).expect("pairs");
            assert_eq!(
                got.iter().map(|pair| pair.0).collect::<Vec<_>>(),
                order[..3],
                "{name}"
            );
            assert!(
                got.iter()
                    .zip(&top)
                    .all(|(got, top)| (got.1 - top.1).abs() < 1e-5),
                "{got:?} {top:?}"
            );
        }
    }
}

#[test]
fn perplexity_scores_the_second_half_of_each_window() {
    let folder = Folder::new("perplexity");
    let model = fixture("llama-gqa-tied");
    let text = "the boy lit the lamp and the fish sailed upon a sea of tea; ".repeat(3);
    let file = folder.write("text.txt", &text);
    let tokens = ids(&cpu(&["tokenize", &model, "-p", &text, "--json"]).json()["ids"]);
    let bos = ids(&cpu(&["tokenize", &model, "-p", "", "--bos", "--json"]).json()["ids"])[0];

    // The same by hand, from the logits of each window.
    let (mut nlls, window) = (vec![], 24);
    for text in tokens.chunks_exact(window - 1) {
        let ids = [&[bos], text].concat();
        let out = folder.name("logits");
        cpu(&["logits", &model, "--ids", &joined(&ids), "--out", &out]).ok();
        let (shape, logits) = read_logits(&folder.path("logits"));
        for at in window / 2..window {
            let row = &logits[(at - 1) * shape[1]..][..shape[1]];
            let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            nlls.push(sum.ln() - f64::from(row[ids[at] as usize]));
        }
    }
    let n = nlls.len() as f64;
    let sum: f64 = nlls.iter().sum();
    let variance = nlls.iter().map(|nll| (nll - sum / n).powi(2)).sum::<f64>() / (n - 1.0);
    assert!(nlls.len() > window, "several windows");

    let got = cpu(&["perplexity", &model, &file, "--window", "24", "--json"]).json();
    assert_eq!(keys(&got), ["ppl", "nll", "tokens", "stderr"]);
    assert_eq!(got["tokens"], nlls.len());
    let near = |got: &Value, want: f64| (got.as_f64().expect("a number") / want - 1.0).abs() < 1e-4;
    assert!(near(&got["nll"], sum), "{got} {sum}");
    assert!(near(&got["ppl"], (sum / n).exp()), "{got}");
    assert!(
        near(&got["stderr"], (variance / n).sqrt() * (sum / n).exp()),
        "{got}"
    );

    let first = cpu(&[
        "perplexity",
        &model,
        &file,
        "--window",
        "24",
        "--n-windows",
        "1",
        "--json",
    ])
    .json();
    assert_eq!(first["tokens"], window / 2);
    let all = cpu(&[
        "perplexity",
        &model,
        &file,
        "--window",
        "24",
        "--from",
        "1",
        "--n-windows",
        "1",
        "--json",
    ])
    .json();
    assert_eq!(all["tokens"], window - 1);
}

#[test]
fn perplexity_of_a_short_text_has_one_window() {
    let got = cpu_with_input(
        &["perplexity", &fixture("qwen3"), "-", "--json"],
        "the boy lit the lamp",
    );
    assert_eq!(got.json()["tokens"], 4, "8 tokens, the second half scored");
    let got = cpu_with_input(
        &["perplexity", &fixture("qwen3"), "-"],
        "the boy lit the lamp",
    );
    assert!(got.ok().contains(" ± "));
}

#[test]
fn perplexity_agrees_with_the_golden_one() {
    let Some(folder) = shared("models/stories260k") else {
        return;
    };
    let golden = crate::program::read_json(&folder.join("golden-perplexity.json"));
    let model = folder.join("stories260K.gguf");
    let args = [
        "perplexity",
        model.to_str().expect("UTF-8"),
        "-",
        "--from",
        "1",
        "--json",
    ];
    let got = cpu_with_input(&args, golden["sentence"].as_str().expect("a text")).json();
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!(number(&got["tokens"]), number(&golden["n_tokens"]) - 1.0);
    assert!(
        (number(&got["ppl"]) - number(&golden["perplexity"])).abs() < 1e-3,
        "{got}"
    );
    assert!(
        (number(&got["nll"]) - number(&golden["nll"])).abs() < 1e-2,
        "{got}"
    );
}

#[test]
fn bench_reports_speed_bandwidth_and_memory() {
    // It needs no tokenizer.
    let args = [
        "bench",
        &fixture("llama-bias"),
        "-p",
        "16",
        "-n",
        "4",
        "-r",
        "2",
    ];
    let got = cpu(&[&args[..], &["-o", "json"]].concat()).json();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{got}"));
    let names: Vec<&str> = got["tests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| t["test"].as_str())
        .collect();
    assert_eq!(names, ["pp16", "tg4"]);
    for test in got["tests"].as_array().expect("a list") {
        assert!(number(&test["tps"]) > 0.0);
        assert!(number(&test["tps_sd"]) >= 0.0);
        assert_eq!(test["runs"].as_array().map(Vec::len), Some(2));
    }
    assert!(number(&got["copy_gb_s"]) > 0.1);
    assert!(number(&got["dispatches_per_token"]) > 10.0);
    assert_eq!(got["weights"], "f32");
    if cfg!(target_os = "linux") {
        assert!(number(&got["peak_memory"]) > 1e6);
    }
    let decode = &got["tests"][1];
    let gigabytes = number(&decode["bytes_per_token"]) * number(&decode["tps"]) / 1e9;
    assert!((number(&decode["gb_s"]) / gigabytes - 1.0).abs() < 1e-9);
    assert!(
        (number(&decode["copy_fraction"]) * number(&got["copy_gb_s"]) / gigabytes - 1.0).abs()
            < 1e-9
    );

    assert_eq!(
        cpu(&[&args[..], &["--json"]].concat()).json()["model"],
        got["model"]
    );
    let table = cpu(&args).ok();
    for words in [
        "| llama-bias",
        "| pp16",
        "| tg4",
        "copy bandwidth",
        "dispatches a token",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let csv = cpu(&[&args[..], &["-o", "csv"]].concat()).ok();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [13, 13, 13], "{csv}");
}

#[test]
fn bench_counts_the_weights_and_the_cache_that_a_token_reads() {
    let bytes = |args: &[&str]| {
        let args = [&["bench", "-p", "0", "-n", "4", "-r", "1", "--json"], args].concat();
        let got = cpu(&args).json();
        (
            got["tests"][0]["bytes_per_token"]
                .as_u64()
                .expect("a number"),
            got,
        )
    };
    // Bytes of one position in the cache, in f32.
    let position = |config: &Value| {
        let n = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key}"));
        let head_dim = config["head_dim"]
            .as_u64()
            .unwrap_or_else(|| n("hidden_size") / n("num_attention_heads"));
        2 * 4 * n("num_hidden_layers") * n("num_key_value_heads") * head_dim
    };
    let config =
        |name| crate::program::read_json(&crate::program::fixture_path(name).join("config.json"));
    let size = |report: &Value| report["size"].as_u64().expect("a number");

    // Tied: the embedding is the output head, so all of it is read.
    let tied = fixture("llama-gqa-tied");
    let tied_position = position(&config("llama-gqa-tied"));
    let (at_0, report) = bytes(&[&tied]);
    assert_eq!(at_0, size(&report) + 3 * tied_position);
    let (at_30, report) = bytes(&[&tied, "-d", "30"]);
    assert_eq!(report["tests"][0]["test"], "tg4 @ d30");
    assert_eq!(at_30, at_0 + 30 * tied_position);

    // Untied: a row of the embedding counts as nothing.
    let config = config("llama-mha-untied");
    let embedding = 4
        * config["vocab_size"].as_u64().expect("a number")
        * config["hidden_size"].as_u64().expect("a number");
    let (read, report) = bytes(&[&fixture("llama-mha-untied")]);
    assert_eq!(read, size(&report) - embedding + 3 * position(&config));
}
