//! Memory stays as it is, however many conversations and engines come and go.
//!
//! A test binary of its own: what it measures is the process.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::fs;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use deputy_mobile::{AnswerOptions, ConversationOptions, Engine, EngineOptions, Source};

/// The CPU, and the first GPU if there is one. `DEPUTY_GPU=required` insists on it.
fn devices() -> Vec<&'static str> {
    let found = !pollster::block_on(deputy::gpu::adapters()).is_empty();
    let required = std::env::var("DEPUTY_GPU").is_ok_and(|v| v == "required");
    assert!(
        found || !required,
        "DEPUTY_GPU=required, and there is no adapter"
    );
    if !found {
        eprintln!("skipped on the GPU: no adapter");
        return vec!["cpu"];
    }
    vec!["cpu", "0"]
}

fn open(device: &str) -> Engine {
    let options = EngineOptions {
        device: Some(device.into()),
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

/// Bytes of the process that are in memory, without those that the allocator keeps for later: with
/// several threads they come to a hundred megabytes, more or less.
fn resident() -> u64 {
    // SAFETY: it only gives free memory back to the system.
    #[expect(unsafe_code, reason = "the only way to trim the heap")]
    unsafe {
        libc::malloc_trim(0)
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// The least of what is resident within a second: an engine ends on its own thread and a driver on others.
fn settled() -> u64 {
    let readings = (0..10).map(|_| {
        thread::sleep(Duration::from_millis(100));
        resident()
    });
    readings.min().unwrap()
}

/// After how many pieces of work memory is looked at: one in four leaves some megabytes until the next ones, and a
/// leak would show after each.
const LOOKS: usize = 8;

/// Does `work` so many times, and compares the memory after each fifth of them. What leaks grows in every stretch, by
/// 5 % in all at the most, while allocators and drivers may take a larger pool in one and give it back in another.
fn stays_flat(what: &str, times: usize, mut work: impl FnMut()) {
    let mut stretch = |_| {
        (LOOKS..times / 5).for_each(|_| work());
        let look = |_| {
            work();
            settled()
        };
        (0..LOOKS).map(look).min().unwrap()
    };
    let sizes: Vec<u64> = (0..5).map(&mut stretch).collect();
    let least = sizes
        .windows(2)
        .map(|pair| pair[1] as f64 / pair[0] as f64 - 1.0)
        .fold(f64::INFINITY, f64::min);
    eprintln!(
        "{times} {what}: {sizes:?} bytes, {:+.2} % at least",
        100.0 * least
    );
    assert!(least < 0.05 / 4.0, "{what}: memory grew: {sizes:?} bytes");
}

#[test]
fn a_thousand_conversations_and_a_hundred_engines_leave_nothing_behind() {
    for device in devices() {
        let engine = open(device);
        stays_flat(&format!("conversations on {device}"), 1000, || {
            talk(&engine);
        });
        drop(engine);
        stays_flat(&format!("engines on {device}"), 100, || talk(&open(device)));
    }
}
