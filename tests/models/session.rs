use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deputy::sampler::SamplerParams;
use deputy::{
    BeforeStep, Cancel, DeviceChoice, Engine, Error, GenerateOptions, Generation, Session,
    StopReason,
};

use crate::support::*;

fn model(device: DeviceChoice) -> Engine {
    load(&fixtures().join("llama-gqa-tied"), exact(device))
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

fn run(session: &mut Session, prompt: &[u32], options: &GenerateOptions) -> Generation {
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    pollster::block_on(session.generate(prompt, options, &mut go_on))
        .unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_shared_prefix_is_reused_and_changes_nothing() {
    for device in devices() {
        let engine = model(device);
        let mut warm = session(&engine, Default::default());
        let prompt: Vec<u32> = (40..60).collect();
        let first = run(&mut warm, &prompt, &greedy(8));
        assert_eq!(first.n_reused, 0);

        // The next turn: the conversation so far and something new.
        let mut longer = [prompt.as_slice(), &first.ids].concat();
        longer.extend([70, 71, 72]);
        let next = run(&mut warm, &longer, &greedy(8));
        // All but the last token drawn, which was never computed.
        assert_eq!(next.n_reused, prompt.len() + first.ids.len() - 1);
        let mut cold = session(&engine, Default::default());
        assert_eq!(run(&mut cold, &longer, &greedy(8)).ids, next.ids);

        // A prompt that parts earlier; and the same one again, of which one token is computed.
        let mut other = prompt[..12].to_vec();
        other.extend([90, 91]);
        let parted = run(&mut warm, &other, &greedy(8));
        assert_eq!(parted.n_reused, 12);
        assert_eq!(run(&mut cold, &other, &greedy(8)).ids, parted.ids);
        assert_eq!(run(&mut warm, &other, &greedy(8)).n_reused, other.len() - 1);
    }
}

#[test]
fn a_long_prompt_goes_through_in_pieces() {
    for device in devices() {
        let engine = model(device);
        let prompt: Vec<u32> = (0..40).map(|i| 40 + i * 7 % 200).collect();
        let whole = run(
            &mut session(&engine, Default::default()),
            &prompt,
            &greedy(8),
        );
        for max_rows in [1, 4, 16] {
            let options = deputy::SessionOptions {
                max_rows,
                ..Default::default()
            };
            let pieces = run(&mut session(&engine, options), &prompt, &greedy(8));
            assert_eq!(pieces.ids, whole.ids, "pieces of {max_rows}");
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_text_and_another_one_does_not() {
    for device in devices() {
        let engine = model(device);
        let mut options = greedy(32);
        let seeded = |seed| {
            Some(SamplerParams {
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                seed,
                ..Default::default()
            })
        };
        options.sampler = seeded(7);
        let first = run(
            &mut session(&engine, Default::default()),
            &[5, 6, 7],
            &options,
        );
        let again = run(
            &mut session(&engine, Default::default()),
            &[5, 6, 7],
            &options,
        );
        assert_eq!(first.ids, again.ids);
        options.sampler = seeded(8);
        let other = run(
            &mut session(&engine, Default::default()),
            &[5, 6, 7],
            &options,
        );
        assert_ne!(first.ids, other.ids);
    }
}

#[test]
fn sampled_text_does_not_depend_on_the_device() {
    if !has_gpu() {
        return;
    }
    let mut options = greedy(48);
    options.sampler = Some(SamplerParams {
        temperature: 0.9,
        top_p: 0.9,
        top_k: 50,
        repeat_penalty: 1.1,
        ..SamplerParams::greedy()
    });
    let texts: Vec<Vec<u32>> = devices()
        .into_iter()
        .map(|device| {
            run(
                &mut session(&model(device), Default::default()),
                &[5, 6, 7],
                &options,
            )
            .ids
        })
        .collect();
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn answers_end_for_the_reason_they_name() {
    for device in devices() {
        let engine = model(device.clone());
        let mut session_ = session(&engine, Default::default());
        let answer = run(&mut session_, &[40, 41], &greedy(12));
        assert_eq!(
            (answer.stop.clone(), answer.ids.len()),
            (StopReason::Length, 12)
        );
        assert!(run(&mut session_, &[40, 41], &greedy(0)).ids.is_empty());

        // The same answer, cut where a stop string comes up, which is not part of the text.
        let text = &answer.text;
        let stop: String = text.chars().skip(4).take(3).collect();
        let mut options = greedy(12);
        options.stop = vec![stop.clone()];
        let cut = run(&mut session_, &[40, 41], &options);
        assert_eq!(cut.stop, StopReason::Stop(stop.clone()));
        assert_eq!(Some(cut.text.as_str()), text.split(&stop).next());

        let mut small = exact(device);
        small.n_ctx = Some(16);
        let engine = load(&fixtures().join("llama-gqa-tied"), small);
        let mut session_ = session(&engine, Default::default());
        let full = run(&mut session_, &[40; 10], &greedy(100));
        assert_eq!(full.stop, StopReason::ContextFull);
        assert_eq!(
            full.ids.len(),
            16 - 10 + 1,
            "the last position makes a token that needs none itself"
        );
    }
}

#[test]
fn each_step_of_an_answer_is_announced_and_can_be_the_last() {
    for device in devices() {
        let engine = model(device);
        let mut session_ = session(&engine, Default::default());
        let whole = run(&mut session_, &[40, 41], &greedy(10));
        for n in [1, 4, 100] {
            let cancel = Cancel::default();
            let (cancels, calls) = (cancel.clone(), Arc::new(AtomicUsize::new(0)));
            let counts = calls.clone();
            let before_step = BeforeStep::new(move || {
                if counts.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    cancels.cancel();
                }
            });
            let options = GenerateOptions {
                cancel,
                before_step: Some(before_step),
                ..greedy(10)
            };
            let answer = run(
                &mut session(&engine, Default::default()),
                &[40, 41],
                &options,
            );
            let n_calls = calls.load(Ordering::Relaxed);
            if n == 100 {
                assert_eq!(answer.ids, whole.ids);
                assert!(n_calls >= answer.ids.len(), "{n_calls} calls");
            } else {
                assert_eq!((answer.stop, n_calls), (StopReason::Cancelled, n));
                assert_eq!(answer.ids, whole.ids[..n - 1]);
            }
        }
    }
}

#[test]
fn an_answer_is_cancelled_within_a_token() {
    for device in devices() {
        let engine = model(device);
        let mut session_ = session(&engine, Default::default());
        let options = greedy(100);
        let cancel: Cancel = options.cancel.clone();
        let mut seen = 0;
        let mut on_piece = |_: deputy::Piece<'_>| {
            seen += 1;
            if seen == 3 {
                cancel.cancel();
            }
            ControlFlow::Continue(())
        };
        let answer =
            pollster::block_on(session_.generate(&[40, 41], &options, &mut on_piece)).unwrap();
        assert_eq!((answer.stop, answer.ids.len()), (StopReason::Cancelled, 3));

        let mut stop_at_once = |_: deputy::Piece<'_>| ControlFlow::Break(());
        let answer =
            pollster::block_on(session_.generate(&[40, 41], &greedy(100), &mut stop_at_once))
                .unwrap();
        assert_eq!((answer.stop, answer.ids.len()), (StopReason::Cancelled, 1));

        // And goes on afterwards as if nothing had been.
        let whole = run(&mut session_, &[40, 41], &greedy(10));
        assert_eq!(
            whole.ids,
            run(
                &mut session(&engine, Default::default()),
                &[40, 41],
                &greedy(10)
            )
            .ids
        );
    }
}

#[test]
fn pieces_make_up_the_text() {
    for name in ["llama-gqa-tied", "mistral-window", "qwen3"] {
        let engine = load(&fixtures().join(name), exact(DeviceChoice::Cpu));
        let mut text = String::new();
        let mut on_piece = |piece: deputy::Piece<'_>| {
            text.push_str(piece.text);
            ControlFlow::Continue(())
        };
        let mut session_ = session(&engine, Default::default());
        let answer =
            pollster::block_on(session_.generate(&[50, 60, 70], &greedy(40), &mut on_piece))
                .unwrap();
        assert_eq!(text, answer.text, "{name}");
        assert!(!text.is_empty());
    }
}

#[test]
fn impossible_prompts_are_refused_with_the_numbers() {
    let engine = model(DeviceChoice::Cpu);
    let mut session_ = session(&engine, Default::default());
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    let mut refused = |prompt: &[u32], options: &GenerateOptions| {
        pollster::block_on(session_.generate(prompt, options, &mut go_on)).unwrap_err()
    };
    assert!(matches!(refused(&[], &greedy(1)), Error::EmptyPrompt));
    let n_ctx = engine.n_ctx();
    let long = refused(&vec![40; n_ctx as usize], &greedy(1));
    assert!(
        matches!(long, Error::PromptTooLong { limit, .. } if limit == n_ctx),
        "{long}"
    );
    let vocab = engine.config().vocab_size;
    let unknown = refused(&[40, vocab], &greedy(1));
    assert!(
        matches!(unknown, Error::UnknownToken { found, .. } if found == vocab),
        "{unknown}"
    );
    let mut hot = greedy(1);
    hot.sampler = Some(SamplerParams {
        temperature: f32::NAN,
        ..SamplerParams::greedy()
    });
    assert!(matches!(refused(&[40], &hot), Error::Sampler(_)));
}

#[test]
fn a_hopeless_text_is_refused_before_it_is_tokenized() {
    let engine = model(DeviceChoice::Cpu);
    let text = "a".repeat(64 << 20);
    let start = std::time::Instant::now();
    let error = engine.encode_prompt(&text, false).unwrap_err();
    assert!(
        matches!(error, Error::TextTooLong { n_bytes, .. } if n_bytes == text.len()),
        "{error}"
    );
    let message = deputy::tokenizer::Message::new("user", text);
    let error = engine
        .encode_chat(&[message], &Default::default())
        .unwrap_err();
    assert!(matches!(error, Error::TextTooLong { .. }), "{error}");
    assert!(start.elapsed().as_secs() < 5);
    assert!(engine.encode_prompt("a text that fits", false).is_ok());
}
