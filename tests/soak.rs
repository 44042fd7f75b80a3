//! Memory stays flat over many models and many tokens. `DEPUTY_SOAK=full` runs the numbers of a release.
#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use deputy::sampler::SamplerParams;
use deputy::{DeviceChoice, Engine, GenerateOptions, LoadOptions, SessionOptions};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-gqa-tied")
}

fn full() -> bool {
    std::env::var("DEPUTY_SOAK").is_ok_and(|v| v == "full")
}

/// Bytes of host memory in use; a software adapter's device memory is among them.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A leak grows without end: in one of these equal stretches nothing may be left behind, while
/// allocators and drivers may well take a larger pool in another.
const STRETCHES: usize = 4;

fn assert_flat(what: &str, n: usize, mut cycle: impl FnMut()) {
    let mut sizes = vec![resident()];
    for _ in 0..STRETCHES {
        (0..n / STRETCHES).for_each(|_| cycle());
        sizes.push(resident());
    }
    println!("{n} {what}: {sizes:?} bytes");
    let growth = sizes.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let least = growth.min().unwrap();
    assert!(least < 1 << 20, "{n} {what}: {sizes:?} bytes");
}

fn devices() -> Vec<DeviceChoice> {
    let mut devices = vec![DeviceChoice::Cpu];
    if pollster::block_on(deputy::gpu::adapters()).is_empty() {
        let required = std::env::var("DEPUTY_GPU").is_ok_and(|v| v == "required");
        assert!(!required, "DEPUTY_GPU=required, and there is no adapter");
        eprintln!("skipped on the GPU: no adapter");
    } else {
        devices.push(DeviceChoice::Index(0));
    }
    devices
}

fn load(device: &DeviceChoice) -> Engine {
    let options = LoadOptions {
        device: device.clone(),
        ..Default::default()
    };
    pollster::block_on(Engine::load(fixture(), options, &mut |_| {})).unwrap()
}

fn answer(session: &mut deputy::Session, n: usize) {
    let options = GenerateOptions {
        max_tokens: Some(n),
        sampler: Some(SamplerParams::greedy()),
        ignore_eos: true,
        ..Default::default()
    };
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    let answer = pollster::block_on(session.generate(&[40, 41, 42], &options, &mut go_on)).unwrap();
    assert_eq!(answer.ids.len(), n);
}

/// One test, so that nothing else changes the memory of the process.
#[test]
fn memory_is_flat_over_loads_and_tokens() {
    for device in devices() {
        let (n_loads, n_tokens) = match (&device, full()) {
            (_, true) => (1000, 10_000),
            (DeviceChoice::Cpu, false) => (1000, 10_000),
            (_, false) => (40, 2_000),
        };
        let cycle = || {
            let engine = load(&device);
            let mut session =
                pollster::block_on(engine.session(SessionOptions::default())).unwrap();
            answer(&mut session, 2);
        };
        (0..10).for_each(|_| cycle());
        assert_flat(&format!("loads on {device:?}"), n_loads, cycle);

        let engine = load(&device);
        let mut session = pollster::block_on(engine.session(SessionOptions::default())).unwrap();
        answer(&mut session, 50);
        let what = format!("answers of 50 tokens on {device:?}");
        assert_flat(&what, n_tokens / 50, || answer(&mut session, 50));
    }
}
