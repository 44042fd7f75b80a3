//! What an app does with an engine and its conversations.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use deputy::tokenizer::RenderOptions;
use deputy::{DeviceChoice, GenerateOptions, LoadOptions, SessionOptions};
use deputy_mobile::{
    Answer, AnswerOptions, Conversation, ConversationOptions, DeputyError, Engine, EngineOptions,
    Message, OnText, Role, Source, StopReason, Trim, model_info,
};

const QUESTIONS: [&str; 3] = [
    "My name is Anna and I like pears.",
    "What is the capital of France?",
    "What is my name?",
];

fn options() -> EngineOptions {
    EngineOptions {
        device: Some("cpu".into()),
        ..Default::default()
    }
}

fn engine(options: EngineOptions) -> Engine {
    let engine = Engine::open(Source::Default, options, None).unwrap();
    engine.wait().unwrap()
}

fn talk(engine: &Engine) -> Conversation {
    engine.conversation(ConversationOptions::default()).unwrap()
}

fn greedy() -> AnswerOptions {
    AnswerOptions {
        max_tokens: Some(24),
        temperature: Some(0.0),
        ..Default::default()
    }
}

/// Goes on for ever, or as long as the context.
fn long() -> AnswerOptions {
    AnswerOptions {
        max_tokens: None,
        ..greedy()
    }
}

const STORY: &str = "Tell me a story about a fox.";

fn silent() -> OnText {
    Box::new(|_| Ok(ControlFlow::Continue(())))
}

fn ask(conversation: &Conversation, text: &str) -> Answer {
    let pending = conversation.send(text, greedy(), silent()).unwrap();
    pending.wait().unwrap()
}

/// What the library itself answers, turn by turn, each from an empty cache.
fn answers_of_the_library(questions: &[&str]) -> Vec<String> {
    pollster::block_on(async {
        let options = LoadOptions {
            device: DeviceChoice::Cpu,
            ..Default::default()
        };
        let file = deputy::default_model().await.unwrap();
        let engine = deputy::Engine::from_file(file, options, &mut |_| {})
            .await
            .unwrap();
        let mut messages = vec![];
        let mut answers = vec![];
        for question in questions {
            messages.push(deputy::tokenizer::Message::new("user", *question));
            let prompt = engine
                .encode_chat(&messages, &RenderOptions::default())
                .unwrap();
            let mut session = engine.session(SessionOptions::default()).await.unwrap();
            let options = GenerateOptions {
                max_tokens: Some(24),
                sampler: Some(deputy::sampler::SamplerParams::greedy()),
                ..Default::default()
            };
            let mut on_piece = |_: deputy::Piece<'_>| ControlFlow::Continue(());
            let answer = session
                .generate(&prompt, &options, &mut on_piece)
                .await
                .unwrap();
            messages.push(deputy::tokenizer::Message::new("assistant", &answer.text));
            answers.push(answer.text);
        }
        answers
    })
}

#[test]
fn two_conversations_are_answered_as_the_library_answers_each() {
    let want = answers_of_the_library(&QUESTIONS);
    assert!(want[2].contains("Anna"), "{want:?}");
    let other = answers_of_the_library(&[QUESTIONS[2]]);
    assert_ne!(want[2], other[0], "the question needs its conversation");
    for max_caches in [1, 4] {
        let engine = engine(EngineOptions {
            max_caches: Some(max_caches),
            ..options()
        });
        let (one, two) = (talk(&engine), talk(&engine));
        for (question, want) in QUESTIONS.iter().zip(&want) {
            assert_eq!(ask(&one, question).text, *want, "{max_caches} caches");
            // In between, so that with one cache each takes the other's.
            two.reset().unwrap();
            assert_eq!(
                ask(&two, QUESTIONS[2]).text,
                other[0],
                "{max_caches} caches"
            );
        }
        let (reused, has_cache) = (ask(&one, "Hello!").n_reused, max_caches > 1);
        assert_eq!(reused > 40, has_cache, "{reused} tokens reused");
        assert_eq!(one.messages().len(), 8);
    }
}

#[test]
fn pieces_come_on_the_engines_thread_and_make_the_text() {
    let engine = engine(options());
    let conversation = talk(&engine);
    let seen = Arc::new(Mutex::new((String::new(), vec![])));
    let sees = seen.clone();
    let on_text: OnText = Box::new(move |text| {
        let mut seen = sees.lock().unwrap();
        seen.0.push_str(text);
        seen.1.push(thread::current().id());
        Ok(ControlFlow::Continue(()))
    });
    let answer = conversation.send(QUESTIONS[1], greedy(), on_text).unwrap();
    let answer = answer.wait().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.0, answer.text);
    assert!(seen.1.len() > 3, "in pieces");
    assert!(seen.1.iter().all(|&id| id != thread::current().id()));

    // Unless asked: then on this one, and stopping is exact.
    conversation.reset().unwrap();
    let mut pieces = vec![];
    let here = thread::current().id();
    let mut on_text = |text: &str| {
        assert_eq!(thread::current().id(), here);
        pieces.push(text.to_owned());
        Ok(match pieces.len() {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    };
    let answer = conversation
        .send_here(QUESTIONS[1], greedy(), &mut on_text)
        .unwrap();
    assert_eq!(answer.stop, StopReason::Cancelled);
    assert_eq!(pieces.concat(), answer.text);
    assert_eq!(
        conversation.messages()[1].text,
        answer.text,
        "kept as far as it came"
    );
}

/// Sends, and returns once the first piece has come.
fn begin(conversation: &Conversation, text: &str) -> deputy_mobile::Pending<Answer> {
    let (sender, receiver) = mpsc::channel();
    let on_text: OnText = Box::new(move |_| {
        let _ = sender.send(());
        Ok(ControlFlow::Continue(()))
    });
    let pending = conversation.send(text, long(), on_text).unwrap();
    receiver.recv().unwrap();
    pending
}

#[test]
fn an_answer_is_cancelled_from_another_thread() {
    let engine = engine(options());
    let conversation = talk(&engine);
    let whole = conversation
        .send(STORY, long(), silent())
        .unwrap()
        .wait()
        .unwrap();
    conversation.reset().unwrap();
    let pending = begin(&conversation, STORY);
    assert_eq!(
        conversation.send("Hello!", greedy(), silent()).err(),
        Some(DeputyError::Busy)
    );
    assert_eq!(conversation.reset(), Err(DeputyError::Busy));
    conversation.cancel();
    let answer = pending.wait().unwrap();
    assert_eq!(answer.stop, StopReason::Cancelled);
    assert!(answer.n_tokens < whole.n_tokens / 2, "{answer:?}");
    assert!(whole.text.starts_with(&answer.text));

    // One that waits for its turn never begins, and is not part of its conversation.
    let other = talk(&engine);
    conversation.reset().unwrap();
    let pending = begin(&conversation, STORY);
    let waiting = other.send("Hello!", greedy(), silent()).unwrap();
    other.cancel();
    conversation.cancel();
    assert_eq!(pending.wait().unwrap().stop, StopReason::Cancelled);
    let never = waiting.wait().unwrap();
    assert_eq!((never.stop, never.n_tokens), (StopReason::Cancelled, 0));
    assert_eq!(other.messages(), []);
    assert!(!ask(&other, "Hello!").text.is_empty());
}

#[test]
fn a_paused_engine_makes_no_token_until_it_is_resumed() {
    let engine = engine(options());
    let conversation = talk(&engine);
    let whole = conversation
        .send(STORY, long(), silent())
        .unwrap()
        .wait()
        .unwrap();
    conversation.reset().unwrap();

    let n = Arc::new(Mutex::new(0));
    let counts = n.clone();
    let (sender, receiver) = mpsc::channel();
    let on_text: OnText = Box::new(move |_| {
        *counts.lock().unwrap() += 1;
        let _ = sender.send(());
        Ok(ControlFlow::Continue(()))
    });
    let pending = conversation.send(STORY, long(), on_text).unwrap();
    receiver.recv().unwrap();
    assert!(
        engine.pause(Duration::from_secs(10)),
        "still within ten seconds"
    );
    let held = *n.lock().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(*n.lock().unwrap(), held, "pieces while it is paused");
    // Weights that are given back meanwhile stay until the answer's end.
    engine.trim_memory(Trim::Weights).unwrap();
    engine.resume();
    assert_eq!(pending.wait().unwrap().text, whole.text);

    // A held answer can be cancelled.
    conversation.reset().unwrap();
    let pending = begin(&conversation, STORY);
    assert!(engine.pause(Duration::from_secs(10)));
    conversation.cancel();
    assert_eq!(pending.wait().unwrap().stop, StopReason::Cancelled);
    // And one that has not begun waits without loading anything.
    let pending = conversation.send("Hello!", greedy(), silent()).unwrap();
    assert!(engine.pause(Duration::from_secs(10)));
    engine.resume();
    assert!(!pending.wait().unwrap().text.is_empty());
}

#[test]
fn memory_that_was_given_back_changes_no_answer() {
    let want = answers_of_the_library(&QUESTIONS);
    let engine = engine(options());
    let conversation = talk(&engine);
    assert_eq!(ask(&conversation, QUESTIONS[0]).text, want[0]);
    engine.trim_memory(Trim::Caches).unwrap();
    let second = ask(&conversation, QUESTIONS[1]);
    assert_eq!((second.text, second.n_reused), (want[1].clone(), 0));
    engine.trim_memory(Trim::Weights).unwrap();
    let third = ask(&conversation, QUESTIONS[2]);
    assert_eq!((third.text, third.n_reused), (want[2].clone(), 0));
}

#[test]
fn a_conversation_that_the_app_kept_goes_on() {
    let want = answers_of_the_library(&QUESTIONS);
    let engine = engine(options());
    let conversation = talk(&engine);
    for (i, question) in QUESTIONS[..2].iter().enumerate() {
        for (role, text) in [(Role::User, *question), (Role::Assistant, &want[i])] {
            let text = text.to_owned();
            conversation.add(Message { role, text }).unwrap();
        }
    }
    assert_eq!(ask(&conversation, QUESTIONS[2]).text, want[2]);
}

#[test]
fn a_panic_is_an_error_and_the_engine_goes_on() {
    let engine = engine(options());
    let conversation = talk(&engine);
    let first = ask(&conversation, QUESTIONS[0]);
    let panics: OnText = Box::new(|_| panic!("on purpose"));
    let pending = conversation.send(QUESTIONS[1], greedy(), panics).unwrap();
    let panicked = DeputyError::Panic {
        reason: "on purpose".into(),
    };
    assert_eq!(pending.wait(), Err(panicked));
    assert_eq!(conversation.messages()[1].text, first.text);
    assert_eq!(conversation.messages().len(), 2, "as it was before");

    let failed = DeputyError::Callback {
        reason: "the window is gone".into(),
    };
    let error = failed.clone();
    let fails: OnText = Box::new(move |_| Err(error.clone()));
    let pending = conversation.send(QUESTIONS[1], greedy(), fails).unwrap();
    assert_eq!(pending.wait(), Err(failed));
    assert!(ask(&conversation, QUESTIONS[2]).text.contains("Anna"));
}

#[test]
fn a_callback_that_would_wait_for_itself_is_told_so() {
    let engine = Arc::new(engine(options()));
    let conversation = Arc::new(talk(&engine));
    let (same, other) = (engine.clone(), talk(&engine));
    let inside: OnText = Box::new(move |_| {
        let asked = other.send_and_wait("Hello!", greedy(), silent());
        assert_eq!(asked, Err(DeputyError::InCallback));
        let asked = other.send_here("Hello!", greedy(), &mut |_| Ok(ControlFlow::Continue(())));
        assert_eq!(asked, Err(DeputyError::InCallback));
        let start = Instant::now();
        assert!(
            !same.pause(Duration::from_secs(60)),
            "it cannot wait for itself"
        );
        assert!(start.elapsed() < Duration::from_secs(30), "nor try to");
        same.resume();
        Ok(ControlFlow::Break(()))
    });
    let answer = conversation.send(QUESTIONS[0], greedy(), inside).unwrap();
    assert_eq!(answer.wait().unwrap().stop, StopReason::Cancelled);
}

#[test]
fn what_is_closed_says_so() {
    let engine = engine(options());
    let (one, two) = (talk(&engine), talk(&engine));
    ask(&one, QUESTIONS[0]);
    one.close();
    assert_eq!(
        one.send("Hello!", greedy(), silent()).err(),
        Some(DeputyError::Closed)
    );
    assert!(
        !ask(&two, QUESTIONS[0]).text.is_empty(),
        "the other one stays"
    );

    let three = talk(&engine);
    let pending = begin(&three, STORY);
    let waiting = two.send("Hello!", greedy(), silent()).unwrap();
    engine.close();
    assert_eq!(pending.wait().unwrap().stop, StopReason::Cancelled);
    assert_eq!(waiting.wait(), Err(DeputyError::Closed));
    assert_eq!(
        two.send("Hello!", greedy(), silent()).err(),
        Some(DeputyError::Closed)
    );
    assert_eq!(engine.trim_memory(Trim::Caches), Err(DeputyError::Closed));
    let again = engine.conversation(ConversationOptions::default());
    assert_eq!(again.err(), Some(DeputyError::Closed));
    engine.close();
}

#[test]
fn a_callback_may_close_everything() {
    let engine = Arc::new(engine(options()));
    let conversation = Arc::new(talk(&engine));
    let (e, c) = (engine.clone(), conversation.clone());
    let closes: OnText = Box::new(move |_| {
        c.close();
        e.close();
        Ok(ControlFlow::Continue(()))
    });
    let pending = conversation.send(STORY, long(), closes).unwrap();
    assert_eq!(pending.wait().unwrap().stop, StopReason::Cancelled);
}

#[test]
fn errors_are_typed_and_name_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.gguf");
    std::fs::write(&bad, b"GGUF but not really").unwrap();
    let source = Source::Path(bad.clone());
    let error = Engine::open(source.clone(), options(), None)
        .unwrap()
        .wait()
        .err()
        .unwrap();
    assert!(matches!(error, DeputyError::File { .. }), "{error:?}");
    assert!(error.to_string().contains("bad.gguf"), "{error}");
    assert_eq!(model_info(&source, &options()), Err(error));

    let open = |change: fn(&mut EngineOptions)| {
        let mut options = options();
        change(&mut options);
        Engine::open(Source::Default, options, None)
            .unwrap()
            .wait()
            .err()
            .unwrap()
    };
    let error = open(|options| options.memory_limit = Some(1000));
    assert!(matches!(error, DeputyError::Memory { .. }), "{error:?}");
    let error = open(|options| options.n_ctx = Some(1 << 20));
    assert!(matches!(error, DeputyError::Setting { .. }), "{error:?}");
    let error = open(|options| options.device = Some("no such device".into()));
    assert!(matches!(error, DeputyError::Device { .. }), "{error:?}");

    let mut small = options();
    small.n_ctx = Some(32);
    let engine = engine(small);
    let conversation = talk(&engine);
    let text = "pear ".repeat(100);
    let error = conversation.send(&text, greedy(), silent()).unwrap().wait();
    assert!(
        matches!(error, Err(DeputyError::TooLong { .. })),
        "{error:?}"
    );
    let hot = AnswerOptions {
        temperature: Some(-1.0),
        ..greedy()
    };
    let error = conversation.send("Hello!", hot, silent()).unwrap().wait();
    assert!(
        matches!(error, Err(DeputyError::Setting { .. })),
        "{error:?}"
    );
    assert_eq!(conversation.messages(), [], "as it was before");
}

#[test]
fn a_model_is_known_without_loading_it() {
    let info = model_info(&Source::Default, &options()).unwrap();
    let engine = engine(options());
    assert_eq!(info.memory, engine.info().memory);
    assert_eq!(engine.info().n_ctx, info.max_ctx);
    assert_eq!((info.architecture.as_str(), info.n_layers), ("llama", 6));
    assert!(info.has_chat_template && info.is_routed);
    // As the model's page counts them.
    assert!(
        (5_000_000..6_000_000).contains(&info.n_parameters),
        "{info:?}"
    );
    let smaller = EngineOptions {
        n_ctx: Some(512),
        ..options()
    };
    let smaller = model_info(&Source::Default, &smaller).unwrap();
    assert_eq!(smaller.memory.cache * 2, info.memory.cache);
}

#[test]
fn loading_says_how_far_it_is() {
    let seen = Arc::new(Mutex::new(vec![]));
    let sees = seen.clone();
    let on_progress = Box::new(move |done, total| sees.lock().unwrap().push((done, total)));
    let engine = Engine::open(Source::Default, options(), Some(on_progress)).unwrap();
    drop(engine.wait().unwrap());
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.len() > 3);
    let (done, total) = seen[seen.len() - 1];
    assert!(done == total && total > 5_000_000);
}
