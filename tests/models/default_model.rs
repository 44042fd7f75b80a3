//! The model that is compiled in, on conversations that it was not trained on.

use std::ops::ControlFlow;

use deputy::sampler::SamplerParams;
use deputy::tokenizer::{Message, RenderOptions};
use deputy::{Engine, GenerateOptions, LoadOptions, Routes, SessionOptions, StopReason};
use serde::Deserialize;

use crate::support::*;

/// A held-out case, as `training/deputy_training/conversations.py` writes it.
#[derive(Deserialize)]
struct Case {
    messages: Vec<Said>,
    check: Check,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    content: String,
}

/// What a right answer holds: all of `all`, `least` of `some`, as whole words; or `exact` and nothing beside.
#[derive(Deserialize)]
struct Check {
    exact: Option<String>,
    all: Vec<String>,
    some: Vec<String>,
    least: usize,
}

impl Check {
    fn passes(&self, answer: &str) -> bool {
        let answer = answer.trim().to_lowercase();
        if let Some(exact) = &self.exact {
            return answer == exact.trim().to_lowercase();
        }
        let n = self.some.iter().filter(|words| has(&answer, words)).count();
        self.all.iter().all(|words| has(&answer, words))
            && (self.some.is_empty() || n >= self.least)
    }
}

fn has(answer: &str, words: &str) -> bool {
    let words = words.trim().to_lowercase();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    answer.match_indices(&words).any(|(at, _)| {
        !is_word(answer[..at].chars().next_back())
            && !is_word(answer[at + words.len()..].chars().next())
    })
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../models/default/held_out.jsonl");
    let read = |line| serde_json::from_str(line).expect("a case");
    text.lines().map(read).collect()
}

fn engine(options: LoadOptions) -> Engine {
    pollster::block_on(async {
        let file = deputy::default_model().await?;
        Engine::from_file(file, options, &mut |_| {}).await
    })
    .unwrap_or_else(|e| panic!("{e}"))
}

/// How many of the cases are answered rightly, each behind the turns that it gives.
fn n_right(engine: &Engine, cases: &[Case], routes: &Routes) -> usize {
    let prompt = |case: &Case| {
        let said = case.messages.iter();
        let messages: Vec<Message> = said.map(|m| Message::new(&*m.role, &*m.content)).collect();
        let render = RenderOptions::default();
        engine.encode_chat(&messages, &render).expect("a prompt")
    };
    let prompts: Vec<Vec<u32>> = cases.iter().map(prompt).collect();
    let options = SessionOptions {
        n_sequences: 8,
        ..Default::default()
    };
    let mut session = session(engine, options);
    session.set_routes(routes).unwrap();
    let options = GenerateOptions {
        max_tokens: Some(250),
        sampler: Some(SamplerParams::greedy()),
        ..Default::default()
    };
    let mut go_on = |_: usize, _: deputy::Piece<'_>| ControlFlow::Continue(());
    let answers = session.generate_batch(&prompts, &options, &mut go_on);
    let answers = pollster::block_on(answers).unwrap_or_else(|e| panic!("{e}"));
    let passes = |(case, answer): &(&Case, &deputy::Generation)| {
        answer.stop == StopReason::Eos && case.check.passes(&answer.text)
    };
    cases.iter().zip(&answers).filter(passes).count()
}

/// What is claimed of it: 85 % right when dense, at most 3 points less when routed as by default. `answers` of
/// `training/` measures both on the whole set; here every third case must do as well.
#[test]
fn it_answers_what_it_was_not_trained_on() {
    let cases: Vec<Case> = cases().into_iter().step_by(3).collect();
    assert!(cases.len() >= 100, "{}", cases.len());
    // On the GPU where there is one: in a test's build the CPU takes minutes.
    let engine = engine(LoadOptions {
        device: devices().pop().expect("the CPU is always there"),
        n_ctx: Some(512),
        ..Default::default()
    });
    let dense = n_right(&engine, &cases, &Routes::Effort(1.0));
    let effort = engine
        .branches()
        .expect("a sidecar")
        .effort
        .default_effort();
    let routed = n_right(&engine, &cases, &Routes::Effort(effort));
    let of = cases.len();
    eprintln!(
        "{}: {dense} dense, {routed} routed of {of}",
        engine.device()
    );
    assert!(100 * dense >= 85 * of, "{dense} of {of}");
    assert!(100 * routed >= 82 * of, "{routed} of {of}");
}

/// Routers that were trained to compute little are right to: of what they draft at the lowest effort, half is what the
/// dense model says, and the answer is the same.
#[test]
fn most_of_its_drafts_are_right() {
    let engine = engine(LoadOptions {
        device: devices().swap_remove(0),
        n_ctx: Some(256),
        ..Default::default()
    });
    let prompt = engine
        .encode_prompt(
            "It was a cold evening in the house of the old prince, and",
            false,
        )
        .unwrap();
    let options = GenerateOptions {
        max_tokens: Some(100),
        sampler: Some(SamplerParams::greedy()),
        ignore_eos: true,
        ..Default::default()
    };
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    let mut answer = |speculate, draft_effort| {
        let options_of_session = SessionOptions {
            speculate,
            draft_effort,
            ..Default::default()
        };
        let mut session = session(&engine, options_of_session);
        session.set_routes(&Routes::FULL).unwrap();
        let answered = session.generate(&prompt, &options, &mut go_on);
        pollster::block_on(answered).unwrap_or_else(|e| panic!("{e}"))
    };
    let plain = answer(0, 0.0);
    let drafted = answer(1, 0.0);
    assert_eq!(drafted.ids, plain.ids);
    let (n, of) = (drafted.n_accepted, drafted.n_drafted);
    assert!(2 * n > of, "{n} of {of}");
    let full = answer(1, 1.0);
    assert_eq!(full.n_accepted, full.n_drafted);
}

#[test]
fn efforts_of_drafts_are_checked() {
    let engine = engine(LoadOptions {
        device: devices().swap_remove(0),
        n_ctx: Some(64),
        ..Default::default()
    });
    let options = SessionOptions {
        draft_effort: 1.5,
        ..Default::default()
    };
    let refused = pollster::block_on(engine.session(options)).err().unwrap();
    let expected = "effort: expected a number from 0 to 1, found 1.5";
    assert!(refused.to_string().contains(expected), "{refused}");
}

#[test]
fn checks_tell_right_from_wrong() {
    let check = |all: &str| Check {
        exact: None,
        all: vec![all.to_owned()],
        some: vec![],
        least: 1,
    };
    assert!(check("4").passes("It has 4 legs."));
    assert!(!check("4").passes("It has 14 legs."));
    assert!(check("paris").passes("The capital of France is Paris."));
}

#[test]
fn it_is_as_small_as_it_claims() {
    let file = pollster::block_on(deputy::default_model()).unwrap();
    let n: u64 = file
        .tensors
        .values()
        .map(|t| t.shape.0.iter().product::<usize>() as u64)
        .sum();
    assert!(n <= 8_000_000, "{n} parameters");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let sizes = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let sizes = sizes.filter(|entry| entry.file_name() != "held_out.jsonl");
    let n_bytes: u64 = sizes.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(n_bytes <= 8_000_000, "{n_bytes} bytes");
}
