//! Steps in flight change no answer, and those past its end leave nothing behind.

use std::ops::ControlFlow;

use deputy::sampler::SamplerParams;
use deputy::{
    DeviceChoice, Engine, Error, GenerateOptions, Generation, Session, SessionOptions, StopReason,
};

use crate::support::*;

/// Steps in flight; 1 waits for each. What is out of range is brought into it.
const RUN_AHEAD: [u32; 6] = [1, 2, 3, 4, 8, u32::MAX];

const PROMPT: [u32; 5] = [40, 41, 42, 43, 44];

fn model(device: DeviceChoice) -> Engine {
    load(&fixtures().join("llama-gqa-tied"), exact(device))
}

fn ahead(engine: &Engine, run_ahead: u32) -> Session {
    let options = SessionOptions {
        run_ahead: Some(run_ahead),
        // So that a prompt goes through in pieces, which are in flight too.
        max_rows: 2,
        ..Default::default()
    };
    session(engine, options)
}

fn greedy(n: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(n),
        sampler: Some(SamplerParams::greedy()),
        ignore_eos: true,
        continues: true,
        ..Default::default()
    }
}

fn penalised(n: usize) -> GenerateOptions {
    GenerateOptions {
        sampler: Some(SamplerParams {
            temperature: 0.9,
            top_k: 50,
            top_p: 0.9,
            min_p: 0.01,
            repeat_penalty: 1.3,
            seed: 11,
        }),
        ..greedy(n)
    }
}

/// What an answer leaves: its tokens, text and end, and what the session knows afterwards.
#[derive(Clone, Debug, PartialEq)]
struct Trace {
    ids: Vec<u32>,
    text: String,
    stop: StopReason,
    n_reused: usize,
    known: Vec<u32>,
}

/// An answer; `on_token` gets the number of tokens so far.
fn trace(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions,
    on_token: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Trace, Error> {
    let answer = answer(session, prompt, options, on_token)?;
    Ok(Trace {
        ids: answer.ids,
        text: answer.text,
        stop: answer.stop,
        n_reused: answer.n_reused,
        known: session.tokens(0).to_vec(),
    })
}

fn answer(
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions,
    mut on_token: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    let mut n = 0;
    let mut on_piece = |_: deputy::Piece<'_>| {
        n += 1;
        on_token(n)
    };
    pollster::block_on(session.generate(prompt, options, &mut on_piece))
}

fn run(session: &mut Session, prompt: &[u32], options: &GenerateOptions) -> Trace {
    trace(session, prompt, options, |_| ControlFlow::Continue(())).unwrap_or_else(|e| panic!("{e}"))
}

/// Answers, and then the conversation goes on: with every number of steps in flight the same as
/// when each is waited for, and as in a session that has seen nothing before.
fn same_for_all(engine: &Engine, options: &GenerateOptions) -> Trace {
    let mut want = None;
    for run_ahead in RUN_AHEAD {
        let mut session = ahead(engine, run_ahead);
        let first = run(&mut session, &PROMPT, options);
        let mut turn = first.known.clone();
        turn.truncate(engine.n_ctx() as usize - 4);
        turn.extend([70, 71]);
        let second = run(&mut session, &turn, options);
        let fresh = run(&mut ahead(engine, 1), &turn, options);
        assert_eq!(second.ids, fresh.ids, "{run_ahead} steps in flight");
        assert_eq!(second.stop, fresh.stop, "{run_ahead} steps in flight");
        let got = (first, second);
        let want = want.get_or_insert_with(|| got.clone());
        assert_eq!(got, *want, "{run_ahead} steps in flight");
    }
    want.expect("several were run").0
}

#[test]
fn steps_in_flight_change_no_answer() {
    for device in devices() {
        let engine = model(device);
        for options in [greedy(24), penalised(24)] {
            let Trace { ids, stop, .. } = same_for_all(&engine, &options);
            assert_eq!((ids.len(), stop), (24, StopReason::Length));
        }
    }
}

#[test]
fn steps_past_a_stop_are_dropped() {
    for device in devices() {
        let engine = model(device.clone());
        for n in [0, 1, 2, 5] {
            assert_eq!(same_for_all(&engine, &penalised(n)).ids.len(), n);
        }

        let Trace { ids, text, .. } = same_for_all(&engine, &penalised(24));
        let stop: String = text.chars().skip(6).take(2).collect();
        let mut options = penalised(24);
        options.stop = vec![stop.clone()];
        let cut = same_for_all(&engine, &options);
        assert_eq!(cut.stop, StopReason::Stop(stop));
        assert!(cut.ids.len() < ids.len());

        // An end token where the answer has its tenth.
        let eos = ids[9];
        let first = ids.iter().position(|&id| id == eos).unwrap();
        let mut files = read_folder(&fixtures().join("llama-gqa-tied"));
        let mut config: serde_json::Value = serde_json::from_slice(&files["config.json"]).unwrap();
        config["eos_token_id"] = eos.into();
        files.insert("config.json".to_owned(), config.to_string().into_bytes());
        files.remove("generation_config.json");
        let ending = load_file(open_memory(files).unwrap(), exact(device.clone())).unwrap();
        let mut options = penalised(24);
        options.ignore_eos = false;
        let ended = same_for_all(&ending, &options);
        assert_eq!(
            (ended.stop, &ended.ids[..]),
            (StopReason::Eos, &ids[..first])
        );
        assert_eq!(ended.known.last(), Some(&eos));

        let mut small = exact(device);
        small.n_ctx = Some(16);
        let engine = load(&fixtures().join("llama-gqa-tied"), small);
        let full = same_for_all(&engine, &greedy(100));
        assert_eq!(full.stop, StopReason::ContextFull);
        assert_eq!(full.ids.len(), 16 - PROMPT.len() + 1);
    }
}

#[test]
fn few_steps_are_in_flight_and_none_without_need() {
    for device in devices() {
        let is_gpu = device != DeviceChoice::Cpu;
        let engine = model(device);
        for run_ahead in RUN_AHEAD {
            let mut session = ahead(&engine, run_ahead);
            let most = if is_gpu { run_ahead.min(8) } else { 1 };
            for at in [1, 2, 9] {
                let stopped = answer(&mut session, &PROMPT, &greedy(24), |n| {
                    if n == at {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
                // One more with each token, up to what was asked for.
                assert_eq!(
                    stopped.unwrap().n_dropped,
                    (at - 1).min(most as usize - 1),
                    "{run_ahead} steps in flight, stopped at {at}"
                );
            }
            let whole = answer(&mut session, &PROMPT, &greedy(24), |_| {
                ControlFlow::Continue(())
            });
            assert_eq!(whole.unwrap().n_dropped, 0);
        }
    }
}

#[test]
fn a_cancelled_answer_leaves_nothing_in_flight_behind() {
    for device in devices() {
        let engine = model(device);
        let want = run(&mut ahead(&engine, 1), &PROMPT, &penalised(12)).ids;
        for run_ahead in RUN_AHEAD {
            let mut session = ahead(&engine, run_ahead);
            // More often than there are buffers to read back.
            for at in (1..=3).cycle().take(12) {
                let options = penalised(12);
                let cancel = options.cancel.clone();
                let cut = trace(&mut session, &PROMPT, &options, |n| {
                    if n == at {
                        cancel.cancel();
                    }
                    ControlFlow::Continue(())
                });
                let cut = cut.unwrap();
                assert_eq!(
                    (cut.stop, &cut.ids[..]),
                    (StopReason::Cancelled, &want[..at])
                );
                let other = trace(&mut session, &[9, 8, 7], &greedy(12), |_| {
                    ControlFlow::Break(())
                });
                assert_eq!(other.unwrap().ids.len(), 1);
            }
            let before = penalised(12);
            before.cancel.cancel();
            assert!(run(&mut session, &PROMPT, &before).ids.is_empty());
            assert_eq!(run(&mut session, &PROMPT, &penalised(12)).ids, want);
        }
    }
}

#[test]
fn a_token_makes_no_object_on_the_device() {
    if !has_gpu() {
        return;
    }
    let engine = model(DeviceChoice::Index(0));
    for run_ahead in RUN_AHEAD {
        let mut session = ahead(&engine, run_ahead);
        run(&mut session, &PROMPT, &penalised(3));
        let before = engine.n_objects();
        assert!(before > 0);
        run(&mut session, &[9, 8, 7, 6, 5], &penalised(40));
        assert_eq!(engine.n_objects(), before, "{run_ahead} steps in flight");
    }
}

#[test]
fn a_lost_device_is_opened_again_and_the_text_goes_on() {
    if !has_gpu() {
        return;
    }
    let engine = model(DeviceChoice::Index(0));
    for options in [greedy(12), penalised(12)] {
        let want = run(&mut ahead(&engine, 1), &PROMPT, &options);
        for run_ahead in [1, 2, 8] {
            let mut session = ahead(&engine, run_ahead);
            let cut = GenerateOptions {
                max_tokens: Some(5),
                ..options.clone()
            };
            assert_eq!(run(&mut session, &PROMPT, &cut).ids, want.ids[..5]);
            // Between two answers, and in the middle of one, at its beginning and at its end.
            engine.destroy_device();
            let got = trace(&mut session, &PROMPT, &options, |n| {
                if [1, 7, 11].contains(&n) {
                    engine.destroy_device();
                }
                ControlFlow::Continue(())
            });
            let got = got.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(
                (&got.ids, &got.known),
                (&want.ids, &want.known),
                "{run_ahead} steps in flight"
            );
        }
    }
}

/// A model that gives NaN for one token, and the same model without.
fn poisoned(token: Option<u32>) -> std::collections::BTreeMap<String, Vec<u8>> {
    // Only that token has something in the first column, where a weight is so large that the
    // product overflows.
    let files = read_folder(&fixtures().join("llama-mha-untied"));
    let first_column = |tensor: &mut Option<Tensor>, value: &dyn Fn(u32) -> f32| {
        let (_, shape, bytes) = tensor.as_mut().expect("the fixture has it");
        for (row, bytes) in (0..).zip(bytes.chunks_exact_mut(4 * shape[1])) {
            bytes[..4].copy_from_slice(&value(row).to_le_bytes());
        }
    };
    let files = change_tensor(files, "model.embed_tokens.weight", |t| {
        first_column(t, &|row| if Some(row) == token { 1.0 } else { 0.0 });
    });
    change_tensor(files, "model.layers.0.self_attn.k_proj.weight", |t| {
        first_column(t, &|_| 3e38);
    })
}

#[test]
fn logits_that_are_not_finite_in_flight_name_their_position() {
    for device in devices() {
        let load = |token| {
            let file = open_memory(poisoned(token)).unwrap();
            load_file(file, exact(device.clone())).unwrap()
        };
        let sound = run(&mut ahead(&load(None), 1), &PROMPT, &penalised(12)).ids;
        // Not the first of the answer, and not in it before.
        let at = (3..12)
            .find(|&i| !sound[..i].contains(&sound[i]) && !PROMPT.contains(&sound[i]))
            .expect("the answer is not one token over and over");
        let engine = load(Some(sound[at]));
        for run_ahead in RUN_AHEAD {
            let mut session = ahead(&engine, run_ahead);
            let mut n_seen = 0;
            let error = trace(&mut session, &PROMPT, &penalised(12), |n| {
                n_seen = n;
                ControlFlow::Continue(())
            });
            let error = error.unwrap_err().to_string();
            let position = format!("position {}", PROMPT.len() + at);
            assert!(
                error.contains(&position) && error.contains("layers.0.attention (matvec)"),
                "{run_ahead} steps in flight: {error}"
            );
            assert_eq!(n_seen, at + 1);
            assert_eq!(session.tokens(0), [&PROMPT, &sound[..=at]].concat());

            // What came before it is still there, and what came after it does no harm.
            let mut other = [&PROMPT, &sound[..at]].concat();
            other.push(PROMPT[0]);
            let got = run(&mut session, &other, &greedy(8));
            assert_eq!(got.n_reused, PROMPT.len() + at);
            assert_eq!(got.ids, run(&mut ahead(&engine, 1), &other, &greedy(8)).ids);

            // The token is in a piece of the prompt before the last one, whose results are no
            // longer looked at: there the cache is the first to show it.
            let piece = trace(
                &mut session,
                &[PROMPT[1], sound[at], PROMPT[0]],
                &penalised(12),
                |_| ControlFlow::Continue(()),
            );
            let error = piece.unwrap_err().to_string();
            assert!(
                error.contains("position 2") && error.contains("layers.0.attention (attention)"),
                "{run_ahead} steps in flight: {error}"
            );
        }
    }
}
