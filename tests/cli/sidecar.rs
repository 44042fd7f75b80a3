//! What the program says of a model's sidecar.

use std::fs;
use std::path::Path;

use deputy::branch::{Draft, Effort, FactorFormat, ModelIdentity, Offsets, Settings};
use deputy::file::ModelFile;
use deputy::graph::{CacheMode, LayerRanks, RouterKind, Routing};
use deputy::model::{Config, Model};
use deputy::tensor::DType;
use pollster::block_on;
use serde_json::{Value, json};

use crate::program::{Folder, run};

/// Ranks for the tiny Llama, of which both layers have the same.
pub(crate) fn write_sidecar(model: &Path, cache: CacheMode) {
    let file = block_on(ModelFile::open_path(model)).expect("a model");
    let config = Config::read(&file).expect("a model");
    let shape = deputy::model_shape(&config);
    let identity = block_on(ModelIdentity::of(&file, shape.clone())).expect("can be read");
    let layer = LayerRanks {
        k: Some(4),
        v: Some(8),
        down: Some(16),
        ..LayerRanks::default()
    };
    let offsets = Offsets {
        effort: 0.1,
        attention: -1.5,
        ffn: 2.25,
    };
    let settings = Settings {
        routing: Routing {
            router: RouterKind::Mlp { width: 12 },
            dense_layers: 0,
            dense_tokens: 2,
            layers: vec![layer; config.n_layers as usize],
        },
        cache,
        factors: FactorFormat::Q4,
        effort: Effort::new(0.7, vec![offsets]).expect("a valid table"),
        calibration: json!({"tokens": 5}),
    };
    let mut tensors = vec![];
    let dim = config.dim as usize;
    for n in 0..config.n_layers {
        let mut tensor = |name: &str, shape: Vec<usize>| {
            let values = vec![0.5; shape.iter().product()];
            tensors.push((format!("layers.{n}.{name}"), shape, values));
        };
        for (name, rank) in layer.each() {
            let Some(rank) = rank else { continue };
            let (d_out, d_in) = shape.projection(name);
            tensor(&format!("{name}.B"), vec![d_out as usize, rank as usize]);
            tensor(&format!("{name}.D"), vec![rank as usize, d_in as usize]);
        }
        tensor("router.norm", vec![dim]);
        tensor("router.hidden", vec![12, dim]);
        tensor("router.hidden_norm", vec![12]);
        tensor("router.weight", vec![5, 12]);
        tensor("router.bias", vec![5]);
    }
    let draft = Draft {
        settings,
        stored: DType::F16,
        tensors,
    };
    draft.write(&identity, model).expect("a valid sidecar");
}

#[test]
fn inspect_shows_the_sidecar() {
    let folder = Folder::new("sidecar");
    let model = folder.model("llama-gqa-tied", |_| {});
    let gguf = folder.path("m.gguf");
    fs::copy(crate::program::fixture_path("qwen3/model.gguf"), &gguf).expect("can be copied");
    let gguf = folder.name("m.gguf");
    for model in [&model, &gguf] {
        let mut before = run(&["inspect", model, "--json"]).json();
        assert_eq!(before["sidecar"], Value::Null);
        write_sidecar(Path::new(model), CacheMode::Latent);
        let mut after = run(&["inspect", model, "--json"]).json();
        let sidecar = after["sidecar"].take();
        // Low-rank branches take memory.
        let memory = [before["memory"].take(), after["memory"].take()];
        let total = memory.map(|memory| memory["auto"]["total"].as_u64());
        assert!(total[1] > total[0], "{total:?}");
        assert_eq!(after, before, "the model is what it was");

        let shape = &before["config"];
        let number = |key: &str| shape[key].as_u64().expect("a number");
        let (dim, ffn_dim, n_layers) = (number("dim"), number("ffn_dim"), number("n_layers"));
        let kv_dim = number("n_kv_heads") * number("head_dim");
        let factors = 2 * ((4 + 8) * (kv_dim + dim) + 16 * (dim + ffn_dim));
        let router = 4 * (dim + 12 + 5 * 12 + 5) + 2 * 12 * dim;
        assert_eq!(sidecar["factor_bytes"], factors * n_layers);
        assert_eq!(sidecar["router_bytes"], router * n_layers);
        assert_eq!(sidecar["router"], json!({"kind": "mlp", "width": 12}));
        assert_eq!(sidecar["dense_layers"], 0);
        assert_eq!(sidecar["dense_tokens"], 2);
        assert_eq!(sidecar["cache"], "latent");
        assert_eq!(sidecar["factors"], "q4");
        let effort =
            json!({"default": 0.7, "offsets": [{"effort": 0.1, "attention": -1.5, "ffn": 2.25}]});
        assert_eq!(sidecar["effort"], effort);
        assert_eq!(sidecar["layers"][1], json!({"k": 4, "v": 8, "down": 16}));
        assert_eq!(sidecar["calibration"], json!({"tokens": 5}));
        let text = run(&["inspect", model]).ok();
        for words in [
            "deputy.json",
            "mlp of width 12",
            "2 tokens",
            "q4 on the device",
            "latent",
            "0.7 unless asked for",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let ranks = text.lines().find(|line| line.starts_with("layers 0 to"));
        let ranks: Vec<&str> = ranks.expect(&text).split_whitespace().skip(4).collect();
        assert_eq!(ranks, ["-", "4", "8", "-", "-", "-", "16"]);
    }
}

/// The copy is another model by its hash; its sidecar names that and says the same.
#[test]
fn a_quantised_copy_has_the_same_sidecar() {
    let folder = Folder::new("sidecar-quantized");
    let model = folder.model("llama-gqa-tied", |_| {});
    fs::copy(
        crate::program::fixture_path("qwen3/model.gguf"),
        folder.path("m.gguf"),
    )
    .expect("can be copied");
    for (model, out) in [(model, "q8"), (folder.name("m.gguf"), "q8.gguf")] {
        write_sidecar(Path::new(&model), CacheMode::LatentV);
        let out = folder.name(out);
        run(&["quantize", &model, &out, "--weights", "q8"]).ok();
        let [before, after] = [&model, &out].map(|path| {
            let mut inspected = run(&["inspect", path, "--json"]).json();
            inspected["sidecar"].take()
        });
        // It says that its factors are q4 on the device, so that those with whole blocks are stored like that.
        let bytes = |sidecar: &Value| sidecar["factor_bytes"].as_u64().expect("a number");
        assert!(
            bytes(&after) < bytes(&before) && bytes(&after) > 0,
            "{after}"
        );
        for key in ["layers", "effort", "router", "cache"] {
            assert_eq!(after[key], before[key], "{key}");
        }
    }
}

#[test]
fn tensors_of_a_sidecar_are_not_the_models_unused_ones() {
    let folder = Folder::new("sidecar-added");
    let model = folder.model("llama-gqa-tied", |_| {});
    write_sidecar(Path::new(&model), CacheMode::Latent);
    let mut file = block_on(ModelFile::open_path(Path::new(&model))).expect("a model");
    let before = block_on(Model::open(&file, None)).expect("can be run");
    let sidecar = block_on(deputy::sidecar(&file, &before.config)).expect("fits");
    sidecar
        .expect("is there")
        .add_to(&mut file)
        .expect("new names");
    assert!(file.tensors.contains_key("deputy.layers.0.k.B"));
    let after = block_on(Model::open(&file, None)).expect("can be run");
    assert_eq!(after.weights, before.weights);
    assert_eq!(after.unused, before.unused);
}

#[test]
fn a_damaged_sidecar_is_an_error_of_inspect() {
    let folder = Folder::new("sidecar-damaged");
    let model = folder.model("llama-gqa-tied", |_| {});
    write_sidecar(Path::new(&model), CacheMode::Latent);
    let json = Path::new(&model).join("deputy.json");
    let good = fs::read_to_string(&json).expect("was written");
    for (from, to, why) in [
        (
            "\"version\": 1",
            "\"version\": 9",
            "deputy.json: version: expected a whole number from 1 to 1, found 9",
        ),
        (
            "\"k\": 4",
            "\"k\": 8",
            "deputy.safetensors: tensor \"layers.0.k.B\": expected shape [8, 8], found [8, 4]",
        ),
        (
            "\"dim\": 32",
            "\"dim\": 64",
            "deputy.json: model.dim: expected the model's own, 32, found 64",
        ),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        fs::write(&json, bad).expect("can be written");
        let got = run(&["inspect", &model]);
        assert_eq!(got.code, Some(1), "{}", got.stderr);
        assert!(got.stderr.contains(why), "{}", got.stderr);
        assert!(got.stdout.contains("tensors"), "what is known is shown");
        let got = run(&["inspect", &model, "--json"]);
        assert_eq!(got.code, Some(1));
        let value: Value = serde_json::from_str(&got.stdout).expect("is JSON");
        let reason = value["unsupported"].as_str().expect("a reason");
        assert!(reason.contains(why), "{reason}");
    }
}
