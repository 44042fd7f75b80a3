use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use deputy::tokenizer::{Message, RenderOptions};
use deputy::{
    Cancel, DeviceChoice, GenerateOptions, LoadOptions, SessionOptions, StopReason, default_model,
    gpu,
};

use super::{greedy, on_cpu};
use crate::chat::Stop;
use crate::engine::{AnswerRequest, Command, Engine, Event, LoadRequest, ModelInfo, Report};
use crate::problem::Problem;
use crate::settings::{AnswerSettings, Latents, LoadSettings, ModelRef};

const QUESTION: &str = "What is the capital of France?";

fn engine() -> Engine {
    Engine::start(Arc::new(|| {}))
}

/// The first event that `take` takes.
fn next<T>(engine: &Engine, mut take: impl FnMut(Event) -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match engine.next_event() {
            Some(event) => {
                if let Some(found) = take(event) {
                    return found;
                }
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
        assert!(!engine.is_dead(), "the engine's thread panicked");
        assert!(start.elapsed() < Duration::from_secs(300), "nothing came");
    }
}

fn load(engine: &Engine, model: ModelRef, settings: LoadSettings) -> Result<ModelInfo, Problem> {
    engine.send(Command::Load(LoadRequest {
        model,
        settings,
        cancel: Cancel::default(),
    }));
    next(engine, |event| match event {
        Event::Loaded(info) => Some(Ok(*info)),
        Event::LoadFailed(problem) => Some(Err(problem)),
        _ => None,
    })
}

fn request(id: u64, question: &str, cancel: &Cancel) -> AnswerRequest {
    AnswerRequest {
        id,
        messages: vec![("user", question.to_owned())],
        settings: AnswerSettings {
            sampling: Some(greedy()),
            ..AnswerSettings::default()
        },
        seed: 0,
        cancel: cancel.clone(),
    }
}

/// The text as it came, and what the answer took.
fn answer(engine: &Engine, request: AnswerRequest) -> Result<(String, Box<Report>), Problem> {
    let (id, cancel) = (request.id, request.cancel.clone());
    let stops_early = request.messages[0].1.contains("story");
    engine.send(Command::Answer(request));
    let mut text = String::new();
    next(engine, |event| match event {
        Event::Piece {
            id: of, text: t, ..
        } if of == id => {
            text.push_str(&t);
            if stops_early {
                cancel.cancel();
            }
            None
        }
        Event::Answered { id: of, report } if of == id => Some(Ok(report)),
        Event::Failed { id: of, problem } if of == id => Some(Err(problem)),
        _ => None,
    })
    .map(|report| (text, report))
}

/// What the library answers by itself.
fn answer_of_library() -> String {
    pollster::block_on(async {
        let options = LoadOptions {
            device: DeviceChoice::Cpu,
            ..LoadOptions::default()
        };
        let file = default_model().await.unwrap();
        let engine = deputy::Engine::from_file(file, options, &mut |_| {}).await;
        let engine = engine.unwrap();
        let mut session = engine.session(SessionOptions::default()).await.unwrap();
        let messages = [Message::new("user", QUESTION)];
        let prompt = engine
            .encode_chat(&messages, &RenderOptions::default())
            .unwrap();
        let options = GenerateOptions {
            sampler: Some(deputy::sampler::SamplerParams::greedy()),
            ..GenerateOptions::default()
        };
        let mut go = |_: deputy::Piece<'_>| std::ops::ControlFlow::Continue(());
        let generation = session.generate(&prompt, &options, &mut go).await.unwrap();
        assert_eq!(generation.stop, StopReason::Eos);
        generation.text
    })
}

#[test]
fn the_thread_answers_as_the_library_does() {
    let engine = engine();
    let info = load(&engine, ModelRef::Default, on_cpu()).unwrap();
    assert_eq!(info.device, "CPU");
    let cancel = Cancel::default();
    let (text, report) = answer(&engine, request(1, QUESTION, &cancel)).unwrap();
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(text, answer_of_library());
    assert_eq!(report.stop, Stop::End);
    let path = report.path.expect("the default model has routers");
    // The token that ended the answer was never computed with.
    let said = path.tokens[path.answer_at..].concat();
    assert!(said.trim() == text.trim(), "{said:?} {text:?}");
    assert_eq!(path.layers.len(), 6);
    assert!(
        path.layers
            .iter()
            .all(|layer| layer.is_empty() || layer.len() == path.tokens.len())
    );
    assert!(path.compute > 0.0 && path.compute < 1.0, "{}", path.compute);
    assert_eq!(report.cache.bytes, report.cache.dense_bytes);
    // The same question again is in the cache, but for its last token.
    let (again, report) = answer(&engine, request(2, QUESTION, &cancel)).unwrap();
    assert_eq!(again, text);
    assert_eq!(report.n_reused, report.n_prompt - 1);
}

#[test]
fn effort_and_latents_reach_the_cache() {
    let engine = engine();
    let settings = LoadSettings {
        latents: Latents::Latent,
        ..on_cpu()
    };
    load(&engine, ModelRef::Default, settings).unwrap();
    let used = |effort| {
        let mut request = request(1, QUESTION, &Cancel::default());
        request.settings.effort = Some(effort);
        let (_, report) = answer(&engine, request).unwrap();
        report.cache
    };
    let full = used(1.0);
    assert_eq!((full.latent_bytes, full.bytes), (0, full.dense_bytes));
    let low = used(0.0);
    assert!(
        low.latent_bytes > 0 && low.bytes < low.dense_bytes,
        "{low:?}"
    );
}

#[test]
fn a_stopped_answer_keeps_what_there_is() {
    let engine = engine();
    load(&engine, ModelRef::Default, on_cpu()).unwrap();
    let story = request(1, "Tell me a story about a fox.", &Cancel::default());
    let (text, report) = answer(&engine, story).unwrap();
    assert_eq!(report.stop, Stop::Stopped);
    assert!(!text.is_empty() && report.n_tokens < 20, "{text}");
}

#[test]
fn what_is_no_model_is_said_in_words_and_the_next_load_works() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let nothing = ModelRef::Path(folder.path().to_owned());
    let problem = load(&engine, nothing.clone(), on_cpu()).err().unwrap();
    assert_eq!(problem.title, "There is no model here");
    assert!(problem.detail.contains(&*folder.path().to_string_lossy()));
    let problem = answer(&engine, request(1, QUESTION, &Cancel::default()));
    assert_eq!(problem.err().unwrap().title, "No model is loaded");
    let request = LoadRequest {
        model: nothing,
        settings: on_cpu(),
        cancel: Cancel::default(),
    };
    engine.estimate(1, request);
    let estimate = next(&engine, |event| match event {
        Event::Estimated { estimate, .. } => Some(estimate),
        _ => None,
    });
    assert_eq!(estimate.err().unwrap().title, "There is no model here");
    load(&engine, ModelRef::Default, on_cpu()).unwrap();
}

#[test]
fn an_estimate_is_what_the_loaded_model_takes() {
    let engine = engine();
    let info = load(&engine, ModelRef::Default, on_cpu()).unwrap();
    let request = LoadRequest {
        model: ModelRef::Default,
        settings: on_cpu(),
        cancel: Cancel::default(),
    };
    engine.estimate(1, request);
    let estimate = next(&engine, |event| match event {
        Event::Estimated { estimate, .. } => Some(estimate.unwrap()),
        _ => None,
    });
    assert_eq!(estimate.footprint.weights, info.footprint.weights);
    assert_eq!(estimate.footprint.cache, info.footprint.cache);
    assert_eq!((estimate.n_layers, estimate.n_ctx), (6, info.n_ctx));
    assert!(estimate.has_routers && estimate.has_template);
    assert!(!estimate.is_too_large());
}

/// An adapter, unless the machine has none and none is required.
fn adapter() -> Option<String> {
    let found = pollster::block_on(gpu::adapters()).into_iter().next();
    if found.is_none() {
        let required = std::env::var_os("DEPUTY_GPU").is_some_and(|value| value == "required");
        assert!(!required, "DEPUTY_GPU=required, and there is no adapter");
        eprintln!("skipped: no GPU adapter");
    }
    found.map(|adapter| adapter.name)
}

#[test]
fn a_lost_device_is_opened_again_unless_the_files_are_gone() {
    let Some(device) = adapter() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default");
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let engine = engine();
    let settings = LoadSettings {
        device,
        ..LoadSettings::default()
    };
    load(&engine, ModelRef::Path(folder.path().to_owned()), settings).unwrap();
    let ask = |id| answer(&engine, request(id, QUESTION, &Cancel::default()));
    let (text, report) = ask(1).unwrap();
    assert!(!report.recovered);
    engine.send(Command::LoseDevice);
    let (again, report) = ask(2).unwrap();
    assert_eq!(again, text);
    assert!(report.recovered);
    // A file that is only deleted would still be open on Unix.
    fs::write(folder.path().join("model.safetensors"), "").unwrap();
    engine.send(Command::LoseDevice);
    let problem = ask(3).expect_err("the weights are gone");
    assert!(problem.detail.contains("model.safetensors"), "{problem:?}");
    load(&engine, ModelRef::Default, on_cpu()).unwrap();
    assert_eq!(ask(4).unwrap().0, text);
}
