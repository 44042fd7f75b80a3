//! From a fit to a sidecar that the engine loads.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use deputy::branch::{Draft, ModelIdentity};
use deputy::file::{Beside, MemoryFolder, ModelFile};
use deputy::fit::{Basis, FitOptions, Fitted, Meter, Text, fit, hold_out, static_lists};
use deputy::graph::CacheMode;
use deputy::kernels::CacheType;
use deputy::model::Config;
use deputy::{DeviceChoice, Engine, LoadOptions, Routes, SessionOptions, model_shape};

use super::model::words;
use super::{devices, empty, fixture, load, shared};

fn fitted(engine: &Engine, text: &str, options: &FitOptions) -> Fitted {
    let texts = [Text { name: "text", text }];
    pollster::block_on(fit(engine, &texts, options, &mut |_| {})).unwrap()
}

fn whole() -> FitOptions {
    FitOptions {
        dense_layers: Some(0),
        ..Default::default()
    }
}

fn identity(model: &Path) -> ModelIdentity {
    let file = pollster::block_on(ModelFile::open_path(model)).unwrap();
    let shape = model_shape(&Config::read(&file).unwrap());
    pollster::block_on(ModelIdentity::of(&file, shape)).unwrap()
}

/// The model with a sidecar beside it, in memory.
fn routed(model: &Path, draft: &Draft, device: DeviceChoice) -> Engine {
    let files = draft.files(&identity(model)).unwrap();
    let beside = Beside {
        folder: Arc::new(MemoryFolder::new("fitted", files)),
        stem: None,
    };
    let file = pollster::block_on(ModelFile::open_path(model)).unwrap();
    let options = LoadOptions {
        device,
        cache: Some(CacheType::F32),
        ..Default::default()
    };
    pollster::block_on(async {
        Engine::from_file(file.with_beside(beside), options, &mut |_| {}).await
    })
    .unwrap()
}

fn logits(engine: &Engine, routes: Option<&Routes>, ids: &[u32]) -> Vec<f32> {
    let options = SessionOptions {
        all_logits: true,
        ..Default::default()
    };
    let mut session = pollster::block_on(engine.session(options)).unwrap();
    if let Some(routes) = routes {
        session.set_routes(routes).unwrap();
    }
    let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
    let all: Vec<u32> = (0..tokens.len() as u32).collect();
    pollster::block_on(session.forward(&tokens, &all)).unwrap()
}

#[test]
fn what_was_fitted_is_loaded_and_at_effort_1_is_the_model_bit_for_bit() {
    let model = empty("fit-loaded");
    for entry in fs::read_dir(fixture()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let ids: Vec<u32> = (5..45).collect();
    for device in devices() {
        let dense = load(&fixture(), device.clone());
        let draft = fitted(&dense, &words(), &whole())
            .draft(CacheMode::Dense)
            .unwrap();
        // Beside the model, over the last device's; and from memory, with the same bytes.
        draft.write(&identity(&model), &model).unwrap();
        for (name, bytes) in draft.files(&identity(&model)).unwrap() {
            assert!(fs::read(model.join(&name)).unwrap() == bytes, "{name}");
        }
        let engine = load(&model, device.clone());
        let settings = engine.branches().expect("a sidecar");
        assert_eq!(settings.routing, draft.settings.routing);
        assert_eq!(settings.effort, draft.settings.effort);
        assert_eq!(settings.effort.table().len(), 11);
        assert_eq!(settings.calibration["texts"][0], "text");
        let want = logits(&dense, None, &ids);
        let at = |effort| logits(&engine, Some(&Routes::Effort(effort)), &ids);
        assert!(at(1.0) == want, "{}", engine.device());
        assert!(at(0.0) != want);
        // The table measures the same.
        let text = words();
        let (_, held_out) = hold_out(&text);
        let measured = |engine: &Engine, routes: &Routes| {
            let mut meter = pollster::block_on(Meter::new(engine, held_out)).unwrap();
            pollster::block_on(meter.measure(routes)).unwrap()
        };
        let dense = measured(&dense, &Routes::FULL);
        let full = measured(&engine, &Routes::Effort(1.0));
        assert_eq!(full.perplexity, dense.perplexity);
        assert_eq!(full.routes.compute, 1.0);
        let least = measured(&engine, &Routes::Effort(0.0));
        assert!(least.routes.compute < 0.7, "{:?}", least.routes);
    }
}

#[test]
fn a_draft_keeps_what_was_fitted_in_half_precision() {
    let engine = load(&fixture(), DeviceChoice::Cpu);
    let fitted = fitted(&engine, &words(), &whole());
    let draft = fitted.draft(CacheMode::LatentV).unwrap();
    assert_eq!(draft.settings.cache, CacheMode::LatentV);
    assert_eq!(draft.settings.routing, fitted.routing);
    let files = draft.files(&identity(&fixture())).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&files["deputy.safetensors"]).unwrap();
    assert_eq!(tensors.len(), fitted.tensors.len());
    for tensor in &fitted.tensors {
        let view = tensors.tensor(&tensor.name).unwrap();
        assert_eq!(view.shape(), tensor.shape);
        let is_half = view.dtype() == safetensors::Dtype::F16;
        assert_eq!(is_half, !tensor.name.contains("router"), "{}", tensor.name);
    }
    // A tensor that is not as long as its shape says is written nowhere.
    let mut wrong = fitted.clone();
    wrong.tensors[1].values.pop();
    let out = empty("fit-short").join("new");
    let wrong = wrong.draft(CacheMode::Dense).unwrap();
    wrong.write(&identity(&fixture()), &out).unwrap_err();
    wrong.files(&identity(&fixture())).unwrap_err();
    assert!(!out.exists());
}

#[test]
fn a_text_is_split_at_a_line_and_none_of_it_is_lost() {
    for text in ["", "a", "é", "ééééééééééé", &"some words\n".repeat(50)] {
        let (learned, held_out) = hold_out(text);
        assert_eq!(format!("{learned}{held_out}"), text);
    }
    let lines = "some words\n".repeat(50);
    let (learned, held_out) = hold_out(&lines);
    assert!(learned.ends_with('\n') && held_out.len() >= 44);
}

#[test]
fn static_lists_come_as_near_as_layers_allow() {
    let dense = load(&fixture(), DeviceChoice::Cpu);
    assert_eq!(
        static_lists(&dense, 1.0),
        [(Routes::Layers(vec![Default::default(); 2]), 1.0)]
    );
    let draft = fitted(&dense, &words(), &whole())
        .draft(CacheMode::Dense)
        .unwrap();
    let engine = routed(&fixture(), &draft, DeviceChoice::Cpu);
    for compute in [0.0, 0.6, 0.8, 1.0] {
        let lists = static_lists(&engine, compute);
        let nearest = lists.iter().map(|(_, share)| (share - compute).abs());
        assert!(nearest.fold(1.0, f64::min) < 0.5, "{lists:?}");
        let text = words();
        let mut meter = pollster::block_on(Meter::new(&engine, &text)).unwrap();
        for (routes, share) in lists {
            let found = pollster::block_on(meter.measure(&routes)).unwrap();
            let found = found.routes.compute;
            assert!((found - share).abs() < 1e-6, "{found}, {share}: {routes:?}");
        }
    }
}

/// Routing decides better than chance, and whitened factors stand for weights better than plain ones.
#[test]
fn a_router_beats_random_tokens_and_plain_factors_on_a_real_model() {
    let (Some(model), Some(text)) = (
        shared("models/tinystories-656k"),
        shared("text/tinystories-train-197k.txt"),
    ) else {
        return;
    };
    let text = fs::read_to_string(text).unwrap();
    let cut = |range: std::ops::Range<usize>| {
        let [start, end] = [range.start, range.end].map(|i| text.floor_char_boundary(i));
        &text[start..end]
    };
    let (learned, held_out) = (cut(0..30_000), cut(150_000..160_000));
    let device = devices().pop().unwrap();
    let dense = load(&model, device.clone());
    let [whitened, plain] = [FitOptions::default().basis, Basis::Plain].map(|basis| {
        let options = FitOptions { basis, ..whole() };
        let draft = fitted(&dense, learned, &options).draft(CacheMode::Dense);
        routed(&model, &draft.unwrap(), device.clone())
    });
    let mut dense = pollster::block_on(Meter::new(&dense, held_out)).unwrap();
    let dense = pollster::block_on(dense.measure(&Routes::FULL)).unwrap();
    let mut meter = pollster::block_on(Meter::new(&whitened, held_out)).unwrap();
    let mut measure = |routes: &Routes| pollster::block_on(meter.measure(routes)).unwrap();
    // 0.8 of the compute, since the least is 0.35.
    let router = measure(&Routes::Effort(0.7));
    let routes = &router.routes;
    let random = measure(&Routes::Shares {
        attention_low: routes.attention_low as f32,
        ffn_low: routes.ffn_low as f32,
        ffn_skipped: routes.ffn_skipped as f32,
        seed: 0,
    });
    let mut meter = pollster::block_on(Meter::new(&plain, held_out)).unwrap();
    let plain = pollster::block_on(meter.measure(&Routes::Effort(0.7))).unwrap();
    for (name, found) in [("router", &router), ("random", &random), ("plain", &plain)] {
        let times = found.perplexity / dense.perplexity;
        println!(
            "{name}: x {times:.3} at {:.3}, {:?}",
            found.routes.compute, found.routes
        );
    }
    assert!((0.7..0.9).contains(&routes.compute), "{routes:?}");
    assert!(random.routes.compute > routes.compute - 0.03);
    assert!(router.perplexity < 0.8 * random.perplexity);
    assert!(router.perplexity < plain.perplexity);
    assert!(router.perplexity < 2.0 * dense.perplexity);
}
