use crate::program::{
    Folder, cpu, cpu_with_input, distance, fixture, fixture_path, ids, joined, keys, read_logits,
    shared,
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
        "3",
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
        let mut runs: Vec<f64> = test["runs"]
            .as_array()
            .expect("a list")
            .iter()
            .map(number)
            .collect();
        assert_eq!(runs.len(), 3);
        runs.sort_by(f64::total_cmp);
        assert_eq!(number(&test["tps_median"]), runs[1]);
    }
    assert!(number(&got["load_s"]) > 0.0);
    assert!(number(&got["first_token_s"]) > number(&got["load_s"]));
    assert!(got["driver"].is_null(), "the CPU has none");
    assert!(got["commit"].is_null());
    assert!(number(&got["copy_gb_s"]) > 0.1);
    // Six a layer; embedding, gathering, head and sampler.
    let n_layers = Shape::of("llama-bias").n_layers;
    assert_eq!(got["dispatches_per_token"], 6 * n_layers + 4);
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
        "cold start: load ",
        "first token of a prompt of 16",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let csv = cpu(&[&args[..], &["-o", "csv"]].concat()).ok();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [19, 19, 19], "{csv}");

    let commit = [&args[..], &["--commit", "v1-2-gabc"]].concat();
    let named = |format| cpu(&[&commit[..], &["-o", format]].concat()).ok();
    assert!(named("md").ends_with("\ncommit v1-2-gabc\n"));
    assert!(named("csv").contains(",\"v1-2-gabc\","));
    assert!(named("json").contains(r#""commit":"v1-2-gabc""#));
}

#[test]
fn bench_breaks_a_step_down_into_kernels() {
    let model = fixture("qwen3");
    let args = ["bench", &model, "-p", "16", "-n", "4", "-r", "3", "-d", "8"];
    let plain = cpu(&[&args[..], &["--json"]].concat()).json();
    assert!(plain["profiles"].is_null());
    let args = [&args[..], &["--profile"]].concat();
    let got = cpu(&[&args[..], &["--json"]].concat()).json();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{got}"));
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let profiles = list(&got["profiles"]);
    let names: Vec<&Value> = profiles.iter().map(|profile| &profile["step"]).collect();
    assert_eq!(names, ["pp16 @ d8", "tg1 @ d8"]);
    for profile in &profiles {
        let kernels = list(&profile["kernels"]);
        let sum = |key: &str| {
            kernels
                .iter()
                .map(|kernel| number(&kernel[key]))
                .sum::<f64>()
        };
        assert_eq!(sum("calls"), number(&profile["dispatches"]));
        assert!((sum("us") / number(&profile["kernels_us"]) - 1.0).abs() < 1e-6);
        assert!((sum("share") - 1.0).abs() < 1e-6);
        let outside = 1.0 - number(&profile["kernels_us"]) / number(&profile["step_us"]);
        assert!((number(&profile["outside_share"]) - outside).abs() < 1e-6);
        let mut times: Vec<f64> = kernels.iter().map(|kernel| number(&kernel["us"])).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{profile}");
        times.retain(|us| *us > 0.0);
        assert_eq!(times.len(), kernels.len(), "{profile}");
        for kernel in &kernels {
            // The parts of all layers together, and rates where weights or the cache are read.
            let part = kernel["part"].as_str().expect("a name");
            assert!(!part.contains("layers."), "{kernel}");
            let name = kernel["kernel"].as_str().expect("a name");
            let product = name.starts_with("mat");
            let small = ["embed", "rms_norm", "add", "gather_rows", "sample"].contains(&name);
            for rate in [&kernel["gb_s"], &kernel["tflop_s"]] {
                assert!(rate.is_number() || !product, "{kernel}");
                assert!(rate.is_null() || !small, "{kernel}");
            }
        }
    }
    // Together the kernels of a decoded token read every matrix, the gains of the norms that ride
    // along, and nine positions.
    let of_kernels: f64 = list(&profiles[1]["kernels"])
        .iter()
        .filter(|kernel| kernel["gb_s"].is_number())
        .map(|kernel| number(&kernel["gb_s"]) * 1e3 * number(&kernel["us"]))
        .sum();
    let shape = Shape::of("qwen3");
    let gains = (2 * shape.n_layers + 1) * shape.dim;
    let elements = shape.matrices + gains + 9 * 2 * shape.n_layers * shape.kv_dim;
    assert!(
        (of_kernels / (4 * elements) as f64 - 1.0).abs() < 1e-6,
        "{got}"
    );

    let table = cpu(&args).ok();
    for words in [
        "| kernel ",
        "\ntg1 @ d8: ",
        " dispatches, ",
        " outside them",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let csv = cpu(&[&args[..], &["-o", "csv"]].concat()).ok();
    let (_, profile) = csv.split_once("\n\n").expect("a second table");
    assert!(profile.lines().count() > 10, "{csv}");
    assert!(
        profile.lines().all(|line| line.split(',').count() == 9),
        "{csv}"
    );
}

#[test]
fn bench_counts_the_operations_of_a_prompt() {
    let flops = |name: &str, depth: u32| {
        let depth = depth.to_string();
        let model = fixture(name);
        let args = [
            "bench", &model, "-p", "24", "-n", "0", "-r", "1", "--json", "-d", &depth,
        ];
        let got = cpu(&args).json();
        got["tests"][0]["flops_per_token"]
            .as_u64()
            .expect("a number")
    };
    for name in ["qwen3", "llama-mha-untied"] {
        let shape = Shape::of(name);
        for depth in [0, 17] {
            // Row i of 24 sees the tokens before it and itself, in keys and in values.
            let pairs: u64 = (1..=24).map(|i| depth + i).sum();
            let attention = 2 * pairs * shape.n_layers * shape.q_dim;
            // Only the last row has logits.
            let products = 24 * shape.matrices - 23 * shape.head;
            let whole = 2 * (products + attention);
            assert_eq!(flops(name, depth as u32), whole / 24, "{name} @ {depth}");
        }
    }
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

/// Elements of a model, from its configuration.
struct Shape {
    dim: u64,
    n_layers: u64,
    q_dim: u64,
    kv_dim: u64,
    /// Of the output head.
    head: u64,
    /// Of all matrices that a token is multiplied with.
    matrices: u64,
}

impl Shape {
    fn of(name: &str) -> Self {
        let config = crate::program::read_json(&fixture_path(name).join("config.json"));
        let n = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key}"));
        let (dim, n_heads, n_layers) = (
            n("hidden_size"),
            n("num_attention_heads"),
            n("num_hidden_layers"),
        );
        let head_dim = config["head_dim"].as_u64().unwrap_or(dim / n_heads);
        let (q_dim, kv_dim) = (n_heads * head_dim, n("num_key_value_heads") * head_dim);
        let layer = dim * (2 * q_dim + 2 * kv_dim + 3 * n("intermediate_size"));
        let head = n("vocab_size") * dim;
        Self {
            dim,
            n_layers,
            q_dim,
            kv_dim,
            head,
            matrices: n_layers * layer + head,
        }
    }
}
