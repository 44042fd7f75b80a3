use std::ops::ControlFlow;
use std::path::Path;

use deputy::sampler::SamplerParams;
use deputy::{Engine, GenerateOptions, Generation, StopReason};
use serde_json::Value;

use crate::support::*;

fn greedy(engine: &Engine, prompt: &[u32], n: usize) -> Generation {
    let options = GenerateOptions {
        max_tokens: Some(n),
        sampler: Some(SamplerParams::greedy()),
        continues: true,
        ..Default::default()
    };
    let mut session = session(engine, Default::default());
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    pollster::block_on(session.generate(prompt, &options, &mut go_on))
        .unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn greedy_answers_equal_those_of_transformers() {
    for device in devices() {
        for name in ["llama-gqa-tied", "qwen3", "mistral-window"] {
            let folder = fixtures().join(name);
            let engine = load(&folder, exact(device.clone()));
            let golden = json(&folder.join("golden.json"));
            for case in golden["cases"].as_array().unwrap() {
                let want = ids(&case["greedy_ids"]);
                let got = greedy(&engine, &ids(&case["prompt_ids"]), 32);
                assert_eq!(
                    got.ids,
                    want,
                    "{name} on {}: {}",
                    engine.device(),
                    case["prompt"]
                );
                assert_eq!(got.stop.name(), case["stop"].as_str().unwrap(), "{name}");
                if let Some(prompt) = case["prompt"].as_str() {
                    let ids_of_prompt = engine
                        .tokenizer()
                        .unwrap()
                        .encode_prompt(prompt, false)
                        .unwrap();
                    assert_eq!(
                        ids_of_prompt,
                        ids(&case["prompt_ids"]),
                        "{name}: {prompt:?}"
                    );
                }
            }
        }
    }
}

/// The two real models beside the repository, with their golden.json.
fn real_models() -> Vec<(std::path::PathBuf, Value)> {
    let mut found = vec![];
    for (folder, file) in [
        ("models/tinystories-656k", ""),
        ("models/stories260k", "stories260K.gguf"),
    ] {
        if let Some(folder) = shared(folder) {
            let golden = json(&folder.join("golden.json"));
            let path = if file.is_empty() {
                folder
            } else {
                folder.join(file)
            };
            found.push((path, golden));
        }
    }
    found
}

#[test]
fn real_models_tell_their_stories() {
    for device in devices() {
        for (path, golden) in real_models() {
            let engine = load(&path, exact(device.clone()));
            for case in golden["cases"].as_array().unwrap() {
                let prompt = ids(&case["prompt_ids"]);
                let want = ids(&case["greedy_ids"]);
                let got = greedy(&engine, &prompt, want.len());
                assert_eq!(got.ids, want, "{} on {}", path.display(), engine.device());
                assert_eq!(got.stop, StopReason::Length);
                check_top_logits(&engine, &path, &prompt, &case["last_logits_top5"]);
            }
        }
    }
}

fn check_top_logits(engine: &Engine, path: &Path, prompt: &[u32], top: &Value) {
    let got = logits(&mut all_logits(engine, 64), prompt);
    let last = &got[got.len() - engine.config().vocab_size as usize..];
    for pair in top.as_array().unwrap() {
        let (id, want) = (
            pair[0].as_u64().unwrap() as usize,
            pair[1].as_f64().unwrap(),
        );
        // The goldens have five decimals.
        let difference = (f64::from(last[id]) - want).abs();
        assert!(
            difference < 1e-4,
            "{}: logit of {id} is {}, expected {want}",
            path.display(),
            last[id]
        );
    }
}

#[test]
fn real_models_have_the_golden_perplexity() {
    for device in devices() {
        for (path, golden) in real_models() {
            let engine = load(&path, exact(device.clone()));
            let text = ids(&golden["ppl"]["ids"]);
            let vocab = engine.config().vocab_size as usize;
            let got = logits(&mut all_logits(&engine, 256), &text);
            let nll: f64 = got
                .chunks(vocab)
                .zip(&text[1..])
                .map(|(row, &next)| nll(row, next))
                .sum();
            let want = golden["ppl"]["nll"].as_f64().unwrap();
            assert!(
                (nll - want).abs() < 1e-4 * want,
                "{} on {}: {nll} for {want}",
                path.display(),
                engine.device()
            );
        }
    }
}

/// Negative log likelihood of one token.
pub(crate) fn nll(row: &[f32], id: u32) -> f64 {
    let most = row.iter().fold(f32::MIN, |a, &b| a.max(b));
    let sum: f64 = row.iter().map(|&v| f64::from(v - most).exp()).sum();
    sum.ln() - f64::from(row[id as usize] - most)
}
