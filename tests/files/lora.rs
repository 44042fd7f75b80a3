//! LoRA adapters: what PEFT writes is read, and why others are refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deputy::branch::{Error, Lora, ModelShape};
use deputy::file::MemoryFolder;
use pollster::block_on;
use serde_json::{Value, json};

use crate::common::*;
use crate::sidecar::{says, shape};

/// What PEFT 0.17 writes for a plain adapter.
fn config() -> Value {
    json!({
        "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "org/model",
        "bias": "none", "corda_config": null, "eva_config": null, "exclude_modules": null,
        "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
        "layer_replication": null, "layers_pattern": null, "layers_to_transform": null,
        "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.05,
        "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
        "peft_type": "LORA", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
        "revision": null, "target_modules": ["q_proj", "mlp.down_proj"],
        "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null,
        "use_dora": false, "use_qalora": false, "use_rslora": false,
    })
}

/// Name, type, shape and values of a tensor.
type Tensor = (String, &'static str, Vec<usize>, Vec<f32>);

fn tensors() -> Vec<Tensor> {
    let mut random = Random(3);
    let mut list = vec![];
    for layer in 0..3 {
        for (module, d_out, d_in) in [("self_attn.q_proj", 32, 16), ("mlp.down_proj", 16, 24)] {
            for (part, shape) in [("A", vec![4, d_in]), ("B", vec![d_out, 4])] {
                let name =
                    format!("base_model.model.model.layers.{layer}.{module}.lora_{part}.weight");
                let n = shape.iter().product();
                let values = (0..n)
                    .map(|_| random.below(64) as f32 / 4.0 - 8.0)
                    .collect();
                list.push((name, ["F32", "F16", "BF16"][list.len() % 3], shape, values));
            }
        }
    }
    list
}

fn weights(tensors: &[Tensor]) -> Vec<u8> {
    let (mut entries, mut data) = (vec![], vec![]);
    for (name, dtype, shape, values) in tensors {
        let begin = data.len() as u64;
        for value in values {
            match *dtype {
                "F32" => data.extend(value.to_le_bytes()),
                "F16" => data.extend(half::f16::from_f32(*value).to_le_bytes()),
                "BF16" => data.extend(half::bf16::from_f32(*value).to_le_bytes()),
                _ => data.push(*value as u8),
            }
        }
        entries.push(entry(
            name,
            dtype,
            &format!("{shape:?}"),
            begin,
            data.len() as u64,
        ));
    }
    safetensors(&format!("{{{}}}", entries.join(",")), &data)
}

fn open_files(files: &[(&str, &[u8])]) -> Result<Lora, Error> {
    let files = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
    let folder = MemoryFolder::new("adapter", files.collect::<BTreeMap<_, _>>());
    block_on(Lora::open(&folder, &shape()))
}

fn open(config: &Value, tensors: &[Tensor]) -> Result<Lora, Error> {
    open_files(&[
        ("adapter_config.json", config.to_string().as_bytes()),
        ("adapter_model.safetensors", &weights(tensors)),
    ])
}

#[test]
fn an_adapter_is_read_as_it_was_written() {
    let mut config = config();
    let tensors = tensors();
    let lora = open(&config, &tensors).expect("a valid adapter");
    assert_eq!((lora.rank, lora.scale, lora.layers.len()), (4, 4.0, 3));
    let mut expected = tensors.iter().map(|tensor| &tensor.3);
    for layer in 0..3 {
        for (name, rank) in lora.ranks(layer).each() {
            let is_there = ["q", "down"].contains(&name);
            assert_eq!(rank, is_there.then_some(4), "{name}");
            let Some(pair) = lora.pair(layer, name) else {
                assert!(!is_there, "{name}");
                continue;
            };
            assert_eq!(Some(&pair.a), expected.next(), "{layer} {name}");
            assert_eq!(Some(&pair.b), expected.next(), "{layer} {name}");
        }
    }
    assert_eq!(expected.next(), None);
    assert!(lora.pair(3, "q").is_none() && lora.pair(0, "router").is_none());

    config["use_rslora"] = json!(true);
    assert_eq!(open(&config, &tensors).expect("valid").scale, 8.0);
    config["init_lora_weights"] = json!("gaussian");
    open(&config, &tensors).expect("a start that changes nothing else");
    // As older versions wrote it.
    let least = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 1.5, "target_modules": ["down_proj", "q_proj"]});
    assert_eq!(open(&least, &tensors).expect("valid").scale, 0.375);
}

#[test]
fn a_config_of_more_than_an_adapter_is_refused_by_key() {
    let cases = [
        (
            "peft_type",
            json!("IA3"),
            "peft_type: expected one of LORA, found \"IA3\"",
        ),
        (
            "r",
            json!(0),
            "r: expected a whole number from 1 to 65536, found 0",
        ),
        (
            "r",
            json!(4.5),
            "r: expected a whole number from 1 to 65536, found 4.5",
        ),
        (
            "r",
            json!(8),
            "layers.0.self_attn.q_proj.lora_A.weight\": expected shape [8, 16], found [4, 16]",
        ),
        (
            "lora_alpha",
            json!("x"),
            "lora_alpha: expected a finite number, found \"x\"",
        ),
        (
            "lora_alpha",
            json!(1e40),
            "lora_alpha: expected a finite number",
        ),
        (
            "bias",
            json!("all"),
            "bias: expected one of none, found \"all\"",
        ),
        (
            "fan_in_fan_out",
            json!(true),
            "fan_in_fan_out: expected false, found true",
        ),
        (
            "fan_in_fan_out",
            json!(1),
            "fan_in_fan_out: expected true or false, found 1",
        ),
        (
            "use_rslora",
            json!("no"),
            "use_rslora: expected true or false, found \"no\"",
        ),
        (
            "use_dora",
            json!(true),
            "use_dora: expected nothing … found true",
        ),
        (
            "lora_bias",
            json!(true),
            "lora_bias: expected nothing … found true",
        ),
        (
            "use_qalora",
            json!(true),
            "use_qalora: expected nothing … found true",
        ),
        (
            "rank_pattern",
            json!({"q_proj": 8}),
            "rank_pattern: expected nothing … found {\"q_proj\":8}",
        ),
        (
            "alpha_pattern",
            json!({"q_proj": 8}),
            "alpha_pattern: expected nothing … found {",
        ),
        (
            "modules_to_save",
            json!(["lm_head"]),
            "modules_to_save: expected nothing … found [\"lm_head\"]",
        ),
        (
            "layers_to_transform",
            json!([0]),
            "layers_to_transform: expected nothing … found [0]",
        ),
        (
            "layers_to_transform",
            json!(0),
            "layers_to_transform: expected nothing … found 0",
        ),
        (
            "layer_replication",
            json!([[0, 2]]),
            "layer_replication: expected nothing",
        ),
        (
            "trainable_token_indices",
            json!([1]),
            "trainable_token_indices: expected nothing",
        ),
        (
            "from_the_future",
            json!("x"),
            "from_the_future: expected nothing … found \"x\"",
        ),
        (
            "init_lora_weights",
            json!("pissa"),
            "init_lora_weights: expected a start that leaves … found \"pissa\"",
        ),
        (
            "target_modules",
            json!("all-linear"),
            "target_modules: expected an array, found a string",
        ),
        (
            "target_modules",
            json!([]),
            "target_modules: expected the name of a projection at least, found none",
        ),
        (
            "target_modules",
            json!(["q_proj", "lm_head"]),
            "target_modules[1]: expected q_proj, … found \"lm_head\"",
        ),
        (
            "target_modules",
            json!([3]),
            "target_modules[0]: expected q_proj, … found 3",
        ),
        (
            "target_modules",
            json!(["q_proj"]),
            "unexpected tensor \"base_model.model.model.layers.0.mlp.down_proj.lora_A.weight\"",
        ),
        (
            "target_modules",
            json!(["q_proj", "down_proj", "o_proj"]),
            "layers.0.self_attn.o_proj.lora_A.weight\" of shape [4, 32] is missing",
        ),
    ];
    for (key, value, why) in cases {
        let mut config = config();
        config[key] = value;
        let error = open(&config, &tensors()).expect_err(why).to_string();
        says(&error, &format!("adapter/adapter_ … {why}"));
    }
    for key in ["peft_type", "r", "lora_alpha", "target_modules"] {
        let mut config = config();
        config.as_object_mut().expect("an object").remove(key);
        let error = open(&config, &tensors()).expect_err(key).to_string();
        says(
            &error,
            &format!("adapter_config.json: {key}: expected … found nothing"),
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let good = tensors();
    for i in 0..good.len() {
        let name = &good[i].0;
        let refused = |change: &dyn Fn(&mut Vec<Tensor>), why: &str| {
            let mut tensors = good.clone();
            change(&mut tensors);
            let error = open(&config(), &tensors).expect_err(why).to_string();
            says(
                &error,
                &format!("adapter/adapter_model.safetensors: … {why}"),
            );
        };
        refused(
            &|t| drop(t.remove(i)),
            &format!("tensor {name:?} of shape {:?} is missing", good[i].2),
        );
        refused(
            &|t| {
                t[i].2.swap(0, 1);
            },
            &format!("tensor {name:?}: expected shape {:?}, found", good[i].2),
        );
        refused(
            &|t| t[i].1 = "I8",
            &format!("tensor {name:?}: expected elements of F32, F16 or BF16, found I8"),
        );
        let last = good[i].2[1];
        refused(
            &|t| t[i].3[last] = f32::NAN,
            &format!("tensor {name:?} holds NaN or infinity in row 1"),
        );
        refused(
            &|t| t[i].3[0] = f32::INFINITY,
            &format!("tensor {name:?} holds NaN or infinity in row 0"),
        );
    }
    let mut more = good.clone();
    more.push((
        "base_model.model.lm_head.lora_A.weight".to_owned(),
        "F32",
        vec![1],
        vec![0.0],
    ));
    let error = open(&config(), &more)
        .expect_err("one too many")
        .to_string();
    says(
        &error,
        r#"unexpected tensor "base_model.model.lm_head.lora_A.weight""#,
    );

    // Of a model with other numbers.
    let files = [
        (
            "adapter_config.json".to_owned(),
            config().to_string().into_bytes(),
        ),
        ("adapter_model.safetensors".to_owned(), weights(&good)),
    ];
    let folder = MemoryFolder::new("adapter", files.into());
    for (model, why) in [
        (
            ModelShape { dim: 20, ..shape() },
            "q_proj.lora_A.weight\": expected shape [4, 20], found [4, 16]",
        ),
        (
            ModelShape {
                n_heads: 8,
                ..shape()
            },
            "q_proj.lora_B.weight\": expected shape [64, 4], found [32, 4]",
        ),
        (
            ModelShape {
                ffn_dim: 32,
                ..shape()
            },
            "down_proj.lora_A.weight\": expected shape [4, 32], found [4, 24]",
        ),
        (
            ModelShape {
                n_layers: 2,
                ..shape()
            },
            "unexpected tensor \"base_model.model.model.layers.2.",
        ),
        (
            ModelShape {
                n_layers: 4,
                ..shape()
            },
            "layers.3.self_attn.q_proj.lora_A.weight\" of shape [4, 16] is missing",
        ),
    ] {
        let error = block_on(Lora::open(&folder, &model))
            .expect_err(why)
            .to_string();
        says(&error, why);
    }
}

#[test]
fn a_folder_without_an_adapter_says_what_is_missing() {
    let config = config().to_string();
    let config = ("adapter_config.json", config.as_bytes());
    for (files, why) in [
        (
            &[][..],
            "adapter: no model here; looked for adapter_config.json of a PEFT adapter",
        ),
        (
            &[config][..],
            "adapter: no model here; looked for adapter_model.safetensors beside",
        ),
        (
            &[config, ("adapter_model.bin", &b"x"[..])][..],
            "adapter: has adapter_model.bin but no safetensors",
        ),
        (
            &[("adapter_config.json", &b"[1]"[..])][..],
            "adapter/adapter_config.json: its value: expected an object",
        ),
        (
            &[("adapter_config.json", &b"{\"r\":1,\"r\":2}"[..])][..],
            "key \"r\" stands there twice",
        ),
    ] {
        says(&open_files(files).expect_err(why).to_string(), why);
    }
}

#[test]
fn no_mutation_of_an_adapter_panics_or_takes_long() {
    let (good_config, good_weights) = (config().to_string().into_bytes(), weights(&tensors()));
    let mut n_accepted = 0;
    for case in 0..4000 {
        let mut random = Random(case);
        let (mut config, mut weights) = (good_config.clone(), good_weights.clone());
        match random.below(2) {
            0 => mutate(&mut config, &mut random),
            _ => mutate(&mut weights, &mut random),
        }
        let start = Instant::now();
        let open = || {
            open_files(&[
                ("adapter_config.json", &config),
                ("adapter_model.safetensors", &weights),
            ])
        };
        let result = std::panic::catch_unwind(|| open().is_ok_and(|lora| lora.scale.is_finite()));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "case {case} took {took:?}");
        n_accepted += usize::from(result.unwrap_or_else(|_| panic!("case {case} panicked")));
    }
    println!("{n_accepted} of 4000 mutations are still adapters");
    assert!((1..4000).contains(&n_accepted), "they test nothing");
}
