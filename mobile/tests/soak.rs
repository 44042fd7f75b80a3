//! Memory stays as it is, however many conversations and engines come and go.
//!
//! A test binary of its own: what it measures is the process.

use std::fs;
use std::ops::ControlFlow;

use deputy_mobile::{AnswerOptions, ConversationOptions, Engine, EngineOptions, Source};

fn open() -> Engine {
    let options = EngineOptions {
        device: Some(std::env::var("DEPUTY_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())),
        n_ctx: Some(128),
        ..Default::default()
    };
    let engine = Engine::open(Source::Default, options, None).unwrap();
    engine.wait().unwrap()
}

fn talk(engine: &Engine) {
    let conversation = engine.conversation(ConversationOptions::default()).unwrap();
    let options = AnswerOptions {
        max_tokens: Some(2),
        ..Default::default()
    };
    let silent = Box::new(|_: &str| Ok(ControlFlow::Continue(())));
    let answer = conversation.send("Hello!", options, silent).unwrap();
    assert_eq!(answer.wait().unwrap().n_tokens, 2);
}

/// Bytes of the process that are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let n: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    n << 10
}

/// Does `work` so many times and compares the memory after a fifth of them with that at the end.
fn stays_flat(what: &str, times: usize, mut work: impl FnMut()) {
    let mut early = 0;
    for i in 0..times {
        work();
        if i + 1 == times / 5 {
            early = resident();
        }
    }
    let late = resident();
    let growth = late as f64 / early as f64 - 1.0;
    eprintln!(
        "{times} {what}: {:.1} MB after a fifth, {:.1} MB at the end, {:+.1} %",
        early as f64 / 1e6,
        late as f64 / 1e6,
        100.0 * growth
    );
    assert!(growth < 0.05, "{what}: memory grew by {growth}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_conversations_and_a_hundred_engines_leave_nothing_behind() {
    let engine = open();
    stays_flat("conversations", 1000, || talk(&engine));
    drop(engine);
    stays_flat("engines", 100, || talk(&open()));
}
