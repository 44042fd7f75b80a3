//! Several prompts at a time get what each would have got alone.

use std::cell::Cell;
use std::ops::ControlFlow;

use deputy::graph::RouterKind;
use deputy::sampler::SamplerParams;
use deputy::{
    DeviceChoice, Engine, Error, GenerateOptions, Generation, LoadOptions, Routes, Session,
    SessionOptions, StopReason,
};

use crate::routed::{Factors, engine, routed};
use crate::support::*;

const N_CTX: u32 = 48;

/// Of different lengths; some begin alike.
fn prompts() -> Vec<Vec<u32>> {
    let lengths = [5, 1, 17, 9, 30, 2, 5, 12, 3];
    let begin = |i: usize| {
        if i.is_multiple_of(3) {
            20
        } else {
            31 + i as u32
        }
    };
    let prompt = |(i, n): (usize, u32)| (0..n).map(|at| begin(i) + 5 * at).collect();
    lengths.into_iter().enumerate().map(prompt).collect()
}

fn drawn() -> SamplerParams {
    SamplerParams {
        temperature: 0.9,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.01,
        repeat_penalty: 1.2,
        seed: 11,
    }
}

fn for_tokens(n: usize, sampler: SamplerParams) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(n),
        sampler: Some(sampler),
        ignore_eos: true,
        continues: true,
        ..Default::default()
    }
}

/// The plain model and a routed one.
fn engines(device: &DeviceChoice) -> Vec<Engine> {
    let options = || LoadOptions {
        n_ctx: Some(N_CTX),
        ..exact(device.clone())
    };
    let routed = routed("llama-gqa-tied", Factors::Quarter, RouterKind::Linear);
    vec![
        load(&fixtures().join("llama-gqa-tied"), options()),
        load(&fixtures().join("qwen3"), options()),
        engine(&routed, options()),
    ]
}

fn of(engine: &Engine, n_sequences: u32, max_rows: u32, run_ahead: u32) -> Session {
    let options = SessionOptions {
        n_sequences,
        max_rows,
        run_ahead: Some(run_ahead),
        ..Default::default()
    };
    session(engine, options)
}

fn alone(engine: &Engine, prompt: &[u32], options: &GenerateOptions) -> Generation {
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    let mut session = of(engine, 1, 16, 1);
    pollster::block_on(session.generate(prompt, options, &mut go_on)).unwrap()
}

/// The answers of a batch, whose pieces make up their texts.
fn together(
    session: &mut Session,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
) -> Vec<Generation> {
    let mut texts = vec![String::new(); prompts.len()];
    let mut ids = vec![vec![]; prompts.len()];
    let mut on_piece = |prompt: usize, piece: deputy::Piece<'_>| {
        texts[prompt].push_str(piece.text);
        ids[prompt].push(piece.id);
        ControlFlow::Continue(())
    };
    let answers = session.generate_batch(prompts, options, &mut on_piece);
    let answers = pollster::block_on(answers).unwrap_or_else(|e| panic!("{e}"));
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(answer.text, texts[i], "prompt {i}");
        assert!(ids[i].starts_with(&answer.ids), "prompt {i}");
    }
    answers
}

/// What an answer is, without how long it took.
fn what(answer: &Generation) -> (&[u32], &str, &StopReason, usize) {
    (&answer.ids, &answer.text, &answer.stop, answer.n_prompt)
}

/// More prompts than sequences, fewer, one; with prompts in pieces; twice over, so that the second time much is in
/// the caches; one answer to the end of the context.
#[test]
fn answers_of_a_batch_are_those_of_single_runs() {
    for device in devices() {
        for engine in engines(&device) {
            for sampler in [SamplerParams::greedy(), drawn()] {
                let options = for_tokens(24, sampler);
                let single = |prompt: &Vec<u32>| alone(&engine, prompt, &options);
                let want: Vec<Generation> = prompts().iter().map(single).collect();
                let at_end = |answer: &&Generation| answer.stop == StopReason::ContextFull;
                assert_eq!(want.iter().filter(at_end).count(), 1);
                for (n_sequences, max_rows, run_ahead) in [
                    (1, 16, 4),
                    (3, 2, 1),
                    (4, 16, 4),
                    (5, 64, 1),
                    (8, 8, 2),
                    (16, 32, 8),
                ] {
                    let mut session = of(&engine, n_sequences, max_rows, run_ahead);
                    for round in 0..2 {
                        let got = together(&mut session, &prompts(), &options);
                        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                            let at = format!(
                                "prompt {i} of round {round}, {n_sequences} sequences, {max_rows} rows, \
                                 {run_ahead} ahead, {:?}, {}",
                                options.sampler,
                                engine.device()
                            );
                            assert_eq!(what(got), what(want), "{at}");
                        }
                    }
                }
            }
        }
    }
}

/// One path for all, and the routers' own with another effort.
#[test]
fn routes_of_a_batch_are_those_that_were_set() {
    let model = routed("qwen3", Factors::Quarter, RouterKind::Mlp { width: 32 });
    for device in devices() {
        let engine = engine(&model, exact(device));
        for routes in [Routes::LOW, Routes::Effort(0.3), Routes::FULL] {
            let options = for_tokens(12, SamplerParams::greedy());
            let mut session = of(&engine, 3, 32, 4);
            session.set_routes(&routes).unwrap();
            let got = together(&mut session, &prompts()[..5], &options);
            let mut single = of(&engine, 1, 32, 1);
            single.set_routes(&routes).unwrap();
            for (prompt, got) in prompts().iter().zip(&got) {
                let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
                let want = single.generate(prompt, &options, &mut go_on);
                assert_eq!(got.ids, pollster::block_on(want).unwrap().ids, "{routes:?}");
            }
        }
    }
}

/// Each answer has its own end: a stop string that only one of them holds, an end token, the length.
#[test]
fn answers_stop_each_by_itself() {
    for device in devices() {
        let engine = load(&fixtures().join("llama-gqa-tied"), exact(device));
        let prompts = &prompts()[..4];
        let options = for_tokens(20, SamplerParams::greedy());
        let free: Vec<Generation> = prompts
            .iter()
            .map(|p| alone(&engine, p, &options))
            .collect();
        // Three characters from the middle of an answer.
        let middle: Vec<char> = free[2].text.chars().collect();
        let stop: String = middle[middle.len() / 2..].iter().take(3).collect();
        let options = GenerateOptions {
            stop: vec![stop.clone()],
            ignore_eos: false,
            ..options
        };
        let got = together(&mut of(&engine, 2, 16, 4), prompts, &options);
        for (got, prompt) in got.iter().zip(prompts) {
            assert_eq!(what(got), what(&alone(&engine, prompt, &options)));
        }
        assert_eq!(got[2].stop, StopReason::Stop(stop));
        assert!(got.iter().any(|answer| answer.stop != got[2].stop));
        let none = together(
            &mut of(&engine, 2, 16, 4),
            prompts,
            &for_tokens(0, SamplerParams::greedy()),
        );
        let empty =
            |answer: &Generation| answer.ids.is_empty() && answer.stop == StopReason::Length;
        assert!(none.iter().all(empty));
    }
}

#[test]
fn a_batch_is_cancelled_as_a_whole_and_answer_by_answer() {
    for device in devices() {
        let engine = load(&fixtures().join("llama-gqa-tied"), exact(device));
        let prompts = &prompts()[..5];
        let options = for_tokens(16, SamplerParams::greedy());
        let want: Vec<Generation> = prompts
            .iter()
            .map(|p| alone(&engine, p, &options))
            .collect();

        // The second answer is broken off behind its third token; the others do not notice.
        let mut session = of(&engine, 2, 16, 4);
        let n = Cell::new(0);
        let mut on_piece = |prompt: usize, _: deputy::Piece<'_>| {
            n.set(n.get() + usize::from(prompt == 1));
            match prompt == 1 && n.get() == 3 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let got = pollster::block_on(session.generate_batch(prompts, &options, &mut on_piece));
        for (i, (got, want)) in got.unwrap().iter().zip(&want).enumerate() {
            if i == 1 {
                assert_eq!(got.stop, StopReason::Cancelled);
                assert_eq!(got.ids, want.ids[..3]);
            } else {
                assert_eq!(what(got), what(want), "prompt {i}");
            }
        }

        // All of it, in the midst: prompts that had no sequence yet have empty answers.
        let cancelled = GenerateOptions {
            cancel: Default::default(),
            ..options.clone()
        };
        let cancel = cancelled.cancel.clone();
        let n = Cell::new(0);
        let mut on_piece = |_: usize, _: deputy::Piece<'_>| {
            n.set(n.get() + 1);
            if n.get() == 9 {
                cancel.cancel();
            }
            ControlFlow::Continue(())
        };
        let got = pollster::block_on(session.generate_batch(prompts, &cancelled, &mut on_piece));
        let got = got.unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.stop, StopReason::Cancelled);
            assert_eq!(got.ids, want.ids[..got.ids.len()]);
        }
        assert!(got[4].ids.is_empty());
        assert_eq!(
            got.iter().map(|answer| answer.ids.len()).sum::<usize>(),
            n.get()
        );

        // And the session is whole.
        let again = together(&mut session, prompts, &options);
        for (got, want) in again.iter().zip(&want) {
            assert_eq!(what(got), what(want));
        }
    }
}

#[test]
fn a_batch_with_an_impossible_prompt_is_refused_before_anything_is_computed() {
    let engine = load(&fixtures().join("llama-gqa-tied"), exact(DeviceChoice::Cpu));
    let mut session = of(&engine, 2, 16, 1);
    let options = for_tokens(4, SamplerParams::greedy());
    let mut never = |_: usize, _: deputy::Piece<'_>| panic!("nothing is computed");
    let mut refused = |prompts: &[Vec<u32>]| {
        pollster::block_on(session.generate_batch(prompts, &options, &mut never)).unwrap_err()
    };
    assert!(matches!(refused(&[vec![20], vec![]]), Error::EmptyPrompt));
    assert!(matches!(
        refused(&[vec![20], vec![u32::MAX]]),
        Error::UnknownToken { .. }
    ));
    let long = vec![20; engine.n_ctx() as usize];
    assert!(matches!(refused(&[long]), Error::PromptTooLong { .. }));
    assert_eq!(session.tokens(0), [0; 0]);
    let nothing = pollster::block_on(session.generate_batch(&[], &options, &mut never));
    assert!(nothing.unwrap().is_empty());
}

/// A batch of several sequences on a lost device goes on where it was.
#[test]
fn a_lost_device_changes_no_answer() {
    if !has_gpu() {
        return;
    }
    let device = DeviceChoice::Index(0);
    for engine in engines(&device) {
        let options = for_tokens(12, drawn());
        let want: Vec<Generation> = prompts()
            .iter()
            .map(|prompt| alone(&engine, prompt, &options))
            .collect();
        let mut session = of(&engine, 4, 16, 4);
        let n = Cell::new(0);
        let mut on_piece = |_: usize, _: deputy::Piece<'_>| {
            n.set(n.get() + 1);
            if [1, 30].contains(&n.get()) {
                engine.destroy_device();
            }
            ControlFlow::Continue(())
        };
        let prompts = prompts();
        let got = pollster::block_on(session.generate_batch(&prompts, &options, &mut on_piece));
        for (got, want) in got.unwrap().iter().zip(&want) {
            assert_eq!(what(got), what(want));
        }
    }
}
