use deputy::model::Config;
use deputy::sampler::SamplerParams;
use deputy::{DeviceChoice, LoadOptions};
use serde_json::{Value, json};

use crate::support::{self, *};

/// The error that a folder gives, opened and loaded on the CPU.
fn refusal(files: std::collections::BTreeMap<String, Vec<u8>>) -> String {
    let engine = match open_memory(files) {
        Ok(file) => load_file(file, exact(DeviceChoice::Cpu)),
        Err(e) => return e.to_string(),
    };
    engine
        .err()
        .unwrap_or_else(|| panic!("it was loaded"))
        .to_string()
}

fn with_config(
    name: &str,
    change: impl Fn(&mut Value),
) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = read_folder(&fixtures().join(name));
    let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
    change(&mut config);
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    files
}

/// A fixture with one tensor changed.
fn with_tensor(
    name: &str,
    tensor: &str,
    change: impl Fn(&mut Option<Tensor>),
) -> std::collections::BTreeMap<String, Vec<u8>> {
    change_tensor(read_folder(&fixtures().join(name)), tensor, change)
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let list = support::json(&fixtures().join("expected.json"));
    let refused = list["refused"].as_object().unwrap();
    assert!(refused.len() >= 18);
    for (name, about) in refused {
        // With some weights beside it, so that the config is what is refused.
        let mut files = read_folder(&fixtures().join("llama-gqa-tied"));
        let config =
            std::fs::read(fixtures().join("refused").join(name).join("config.json")).unwrap();
        files.insert("config.json".to_owned(), config);
        let message = refusal(files);
        for word in about["message_names"].as_array().unwrap() {
            let word = word.as_str().unwrap();
            assert!(
                message.contains(word),
                "{name}: {word:?} is not in {message:?}"
            );
        }
        assert!(
            message.contains("config.json") && message.contains("supported"),
            "{name}: {message}"
        );
    }
}

#[test]
fn absurd_configs_are_refused_with_key_expected_and_found() {
    for (key, value) in [
        ("num_hidden_layers", json!(100_000)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!("2")),
        ("hidden_size", json!(1 << 20)),
        ("hidden_size", json!(33)),
        ("hidden_size", json!(4_294_967_296u64)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(1_000_000)),
        ("num_key_value_heads", json!(3)),
        ("num_key_value_heads", json!(0)),
        ("head_dim", json!(7)),
        ("head_dim", json!(100_000)),
        ("vocab_size", json!(3_000_000)),
        ("vocab_size", json!(null)),
        ("rms_norm_eps", json!(0.0)),
        ("rms_norm_eps", json!(1.0)),
        ("rms_norm_eps", json!("tiny")),
        ("max_position_embeddings", json!(0)),
        ("eos_token_id", json!(99_999)),
        ("tie_word_embeddings", json!("yes")),
        ("intermediate_size", json!(0)),
        ("rope_parameters", json!([1, 2])),
        (
            "rope_parameters",
            json!({"rope_type": "linear", "rope_theta": 1e4}),
        ),
        (
            "rope_parameters",
            json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0}),
        ),
        ("rope_parameters", json!({"rope_theta": -1.0})),
        ("architectures", json!([])),
        ("architectures", json!("LlamaForCausalLM")),
    ] {
        let files = with_config("llama-gqa-tied", |config| {
            config[key] = value.clone();
            // The generation config would speak for the end tokens.
        });
        let mut files = files;
        files.remove("generation_config.json");
        let message = refusal(files);
        assert!(
            message.contains("config.json"),
            "{key} = {value}: {message}"
        );
        let names_key = key
            .split('_')
            .any(|word| word.len() > 3 && message.contains(word));
        assert!(names_key, "{key} = {value}: {message}");
    }
}

#[test]
fn a_generation_config_says_how_tokens_are_drawn_or_is_refused() {
    let sampler = |generation: Value| {
        let mut files = read_folder(&fixtures().join("llama-gqa-tied"));
        let bytes = generation.to_string().into_bytes();
        files.insert("generation_config.json".to_owned(), bytes);
        let config = Config::read(&open_memory(files).unwrap());
        config
            .map(|config| config.sampler)
            .map_err(|e| e.to_string())
    };
    let default = SamplerParams::default();
    assert_eq!(sampler(json!({})), Ok(default));
    let greedy = json!({"do_sample": false, "temperature": 0.7});
    assert_eq!(sampler(greedy), Ok(SamplerParams::greedy()));
    let some = json!({"do_sample": true, "temperature": 0.5, "top_k": 0, "top_p": null});
    let wanted = SamplerParams {
        temperature: 0.5,
        top_k: 0,
        ..default
    };
    assert_eq!(sampler(some), Ok(wanted));
    let rest = json!({"top_p": 0.25, "min_p": 0.125, "repetition_penalty": 1.5});
    let wanted = SamplerParams {
        top_p: 0.25,
        min_p: 0.125,
        repeat_penalty: 1.5,
        ..default
    };
    assert_eq!(sampler(rest), Ok(wanted));
    for (key, value) in [
        ("temperature", json!(-1)),
        ("temperature", json!("hot")),
        ("top_k", json!(-1)),
        ("top_p", json!(1.5)),
        ("min_p", json!(-0.1)),
        ("repetition_penalty", json!(0)),
        ("do_sample", json!(1)),
    ] {
        let error = sampler(json!({ key: value })).unwrap_err();
        let words = ["generation_config.json", key, &value.to_string()];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_listed() {
    let norm = "model.layers.0.input_layernorm.weight";
    let message = refusal(with_tensor("qwen3", norm, |t| *t = None));
    assert!(
        message.contains(norm) && message.contains("missing"),
        "{message}"
    );

    let q = "model.layers.0.self_attn.q_proj.weight";
    let message = refusal(with_tensor("qwen3", q, |t| t.as_mut().unwrap().1.reverse()));
    assert!(
        message.contains(q) && message.contains("shape"),
        "{message}"
    );

    let message = refusal(with_tensor("qwen3", q, |t| {
        t.as_mut().unwrap().0 = safetensors::Dtype::I32
    }));
    assert!(message.contains(q) && message.contains("I32"), "{message}");
}

#[test]
fn tensors_that_nothing_uses_are_reported() {
    let extra = "model.layers.0.self_attn.surprise.weight";
    let files = with_tensor("qwen3", extra, |t| {
        *t = Some((safetensors::Dtype::F32, vec![1], vec![0; 4]))
    });
    let engine = load_file(open_memory(files).unwrap(), exact(DeviceChoice::Cpu)).unwrap();
    assert_eq!(engine.model().unused, [extra]);
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name_and_row() {
    for (tensor, row) in [
        ("model.layers.1.mlp.up_proj.weight", 2),
        ("model.norm.weight", 0),
    ] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let files = with_tensor("qwen3", tensor, |t| {
                let (_, shape, data) = t.as_mut().unwrap();
                let cols = *shape.last().unwrap();
                data[4 * (row * cols + 1)..][..4].copy_from_slice(&bad.to_le_bytes());
            });
            let message = refusal(files);
            assert!(
                message.contains(tensor) && message.contains(&format!("row {row}")),
                "{message}"
            );
        }
    }
}

#[test]
fn weights_beyond_half_precision_are_refused_where_half_is_asked_for() {
    let tensor = "model.layers.1.mlp.up_proj.weight";
    let files = with_tensor("qwen3", tensor, |t| {
        t.as_mut().unwrap().2[..4].copy_from_slice(&1e6f32.to_le_bytes())
    });
    let mut options = exact(DeviceChoice::Cpu);
    assert!(load_file(open_memory(files.clone()).unwrap(), options.clone()).is_ok());
    options.weights = deputy::WeightFormat::F16;
    let message = load_file(open_memory(files).unwrap(), options)
        .unwrap_err()
        .to_string();
    assert!(message.contains(tensor), "{message}");
}

#[test]
fn logits_that_are_not_finite_name_the_position_and_the_layer() {
    for device in devices() {
        // Finite weights whose products overflow in the second layer.
        let tensor = "model.layers.1.mlp.down_proj.weight";
        let files = with_tensor("qwen3", tensor, |t| {
            for word in t.as_mut().unwrap().2.chunks_exact_mut(4) {
                word.copy_from_slice(&3e38f32.to_le_bytes());
            }
        });
        let engine = load_file(open_memory(files).unwrap(), exact(device)).unwrap();
        let mut session_ = session(&engine, Default::default());
        let mut go_on = |_: deputy::Piece<'_>| std::ops::ControlFlow::Continue(());
        let options = deputy::GenerateOptions::default();
        let error =
            pollster::block_on(session_.generate(&[40, 41, 42], &options, &mut go_on)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("position 2") && message.contains("layers.1.ffn"),
            "{message}"
        );
        let error =
            pollster::block_on(all_logits(&engine, 8).forward(&[(0, 40)], &[0])).unwrap_err();
        assert!(error.to_string().contains("position 0"), "{error}");
    }
}

#[test]
fn too_little_memory_and_too_much_context_are_refused_with_the_numbers() {
    let path = fixtures().join("llama-gqa-tied");
    let options = |change: &dyn Fn(&mut LoadOptions)| {
        let mut options = exact(DeviceChoice::Cpu);
        change(&mut options);
        options
    };
    let message = try_load(&path, options(&|o| o.memory = Some(1000)))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("1000") && message.contains("weights"),
        "{message}"
    );
    let n_ctx = load(&path, exact(DeviceChoice::Cpu)).config().n_ctx;
    let message = try_load(&path, options(&|o| o.n_ctx = Some(n_ctx + 1)))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(&(n_ctx + 1).to_string()) && message.contains(&n_ctx.to_string()),
        "{message}"
    );
    let message = try_load(&path, options(&|o| o.n_ctx = Some(0)))
        .unwrap_err()
        .to_string();
    assert!(message.contains('0'), "{message}");
}

#[test]
fn unknown_devices_are_refused_with_a_list() {
    let path = fixtures().join("llama-gqa-tied");
    for device in [
        DeviceChoice::Index(99),
        DeviceChoice::Name("quantum".to_owned()),
    ] {
        let message = try_load(&path, exact(device)).unwrap_err().to_string();
        let helps = message.contains("99")
            || message.contains("quantum")
            || message.contains("--device cpu");
        assert!(helps, "{message}");
    }
}

#[test]
fn broken_gguf_metadata_is_refused_by_key() {
    let bytes = std::fs::read(fixtures().join("qwen2/model.gguf")).unwrap();
    // Same length, so that the rest of the file stays in place.
    for (from, to, word) in [
        ("qwen2.block_count", "qwen2.blockscount", "block_count"),
        (
            "general.architecture",
            "general.architektur_",
            "general.architecture",
        ),
        (
            "qwen2.embedding_length",
            "qwen2.embedding_lengtj",
            "embedding_length",
        ),
        (
            "blk.0.attn_q.weight",
            "blk.0.attn_x.weight",
            "blk.0.attn_q.weight",
        ),
    ] {
        let mut changed = bytes.clone();
        let at = changed
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        let message = match open_gguf_bytes(changed) {
            Ok(file) => load_file(file, exact(DeviceChoice::Cpu))
                .unwrap_err()
                .to_string(),
            Err(e) => e.to_string(),
        };
        assert!(
            message.contains(word) && message.contains("memory.gguf"),
            "{from}: {message}"
        );
    }
}
