//! Decode steps of a model with a sidecar, dense and routed, in turn: what routing costs and saves by the clock.
//!
//! `cargo bench --bench routes -- MODEL [STEPS]`, on the adapter `DEPUTY_BENCH_DEVICE`, 0 unless said otherwise. The
//! ways take one step after the other, in an order that changes, so that another program on the machine slows all of
//! them alike. A step reads back its logits, which `deputy bench` does not.

use std::env;
use std::error::Error;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use deputy::gpu::Tuning;
use deputy::{DeviceChoice, Engine, LoadOptions, Routes, Session, SessionOptions};

/// Tokens before the steps that are measured.
const N_PROMPT: u32 = 16;

/// The ways of a step: its name, without the sidecar or by these routes.
const WAYS: [(&str, Option<&str>); 4] = [
    ("dense", None),
    ("every token on the full branches", Some("full")),
    (
        "the same, which only the device knows",
        Some("shares:0,0,0"),
    ),
    ("shares", Some("shares:0.45,0.35,0.15")),
];

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    let path = args
        .next()
        .ok_or("usage: cargo bench --bench routes -- MODEL [STEPS]")?;
    let n_steps = match args.next() {
        Some(text) => text
            .parse::<NonZeroU32>()
            .map_err(|error| format!("STEPS {text:?}: {error}"))?
            .get(),
        None => 100,
    };
    let device: usize = env::var("DEPUTY_BENCH_DEVICE").map_or(Ok(0), |text| text.parse())?;

    let mut sessions = vec![];
    for (_, routes) in WAYS {
        sessions.push(pollster::block_on(session(&path, device, routes, n_steps))?);
    }
    println!("{}, {path}, {n_steps} steps", sessions[0].engine().device());

    let prompt: Vec<(u32, u32)> = (0..N_PROMPT).map(|i| (0, 5 + i)).collect();
    for session in &mut sessions {
        pollster::block_on(session.forward(&prompt, &[]))?;
        step(session, 5)?; // Compiles what a step takes.
    }
    let mut times = vec![vec![]; WAYS.len()];
    for i in 0..n_steps {
        for turn in 0..WAYS.len() {
            let first = i as usize / 2;
            let way = match i % 2 {
                0 => (first + turn) % WAYS.len(),
                _ => (first + WAYS.len() - turn) % WAYS.len(),
            };
            times[way].push(step(&mut sessions[way], 5 + i)?);
        }
    }

    println!("\n| | median, ms | lower quartile | shortest | median, tokens/s of dense |");
    println!("|---|---|---|---|---|");
    let dense = quantile(&times[0], 0.5);
    for ((name, _), times) in WAYS.iter().zip(&times) {
        let [median, lower, shortest] = [0.5, 0.25, 0.0].map(|part| quantile(times, part));
        let ratio = dense / median;
        println!("| {name} | {median:.2} | {lower:.2} | {shortest:.2} | {ratio:.3} |");
    }
    for ((name, _), others) in WAYS.iter().zip(&times).skip(1) {
        let ratios: Vec<f64> = times[0].iter().zip(others).map(|(a, b)| a / b).collect();
        let total = times[0].iter().sum::<f64>() / others.iter().sum::<f64>();
        println!(
            "\n{name}: tokens/s of dense, by all steps together {total:.3}, median of pairs {:.3}",
            quantile(&ratios, 0.5)
        );
    }
    Ok(())
}

async fn session(
    path: &str,
    device: usize,
    routes: Option<&str>,
    n_steps: u32,
) -> Result<Session, Box<dyn Error>> {
    let options = LoadOptions {
        device: DeviceChoice::Index(device),
        dense: routes.is_none(),
        n_ctx: Some(N_PROMPT + 1 + n_steps),
        tuning: Tuning::Off,
        ..Default::default()
    };
    let engine = Engine::load(path, options, &mut |_| {}).await?;
    let mut session = engine.session(SessionOptions::default()).await?;
    if let Some(routes) = routes {
        session.set_routes(&routes.parse::<Routes>()?)?;
    }
    Ok(session)
}

/// Milliseconds.
fn step(session: &mut Session, token: u32) -> Result<f64, deputy::Error> {
    let start = Instant::now();
    pollster::block_on(session.forward(&[(0, token)], &[0]))?;
    Ok(start.elapsed().div_duration_f64(Duration::from_millis(1)))
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(part * (values.len() - 1) as f64).round() as usize]
}
