//! Layers whose tokens choose a branch, on every architecture.

use std::ops::ControlFlow;

use deputy::graph::{CacheMode, RouterKind};
use deputy::kernels::Call;
use deputy::kernels::linear::MATMUL_ROWS;
use deputy::plan::{Size, lower};
use deputy::sampler::SamplerParams;
use deputy::{
    Branch, DeviceChoice, Engine, GenerateOptions, Generation, LayerBranches, LoadOptions, Routes,
    Session, SessionOptions, StopReason,
};

use crate::routed::{Factors, engine, routed};
use crate::support::*;

const ARCHITECTURES: [&str; 5] = [
    "llama-gqa-tied",
    "llama3-rope",
    "mistral-window",
    "qwen2",
    "qwen3",
];

fn architectures() -> Vec<&'static str> {
    let found = ARCHITECTURES.iter().copied();
    let found: Vec<&str> = found
        .filter(|name| fixtures().join(name).join("config.json").exists())
        .collect();
    assert!(found.len() >= 4, "{found:?}");
    found
}

fn plain(name: &str, device: DeviceChoice) -> Engine {
    load(&fixtures().join(name), exact(device))
}

/// As [`exact`]; each architecture keeps its tokens in another way, unless `DEPUTY_CACHE` says how.
fn exact_in_turn(i: usize, device: DeviceChoice) -> LoadOptions {
    let options = exact(device);
    let mode = CacheMode::ALL[i % CacheMode::ALL.len()];
    LoadOptions {
        cache_mode: options.cache_mode.or(Some(mode)),
        ..options
    }
}

fn with_routes(engine: &Engine, max_rows: u32, routes: &Routes) -> Session {
    let mut session = all_logits(engine, max_rows);
    session.set_routes(routes).unwrap();
    session
}

fn taken(session: &mut Session) -> deputy::TakenRoutes {
    pollster::block_on(session.taken_routes(0))
        .unwrap()
        .unwrap()
}

const ROW_SIZES: [u32; 3] = [1, 4, 256];

const ROUTERS: [RouterKind; 2] = [RouterKind::Linear, RouterKind::Mlp { width: 8 }];

/// Shares that leave every token on the full branches, which only the device finds out.
const NONE_LOW: Routes = Routes::Shares {
    attention_low: 0.0,
    ffn_low: 0.0,
    ffn_skipped: 0.0,
    seed: 0,
};

/// DEPUTY.md, 1; whether the host knows beforehand that all are full, or the device finds it out.
#[test]
fn all_full_is_the_plain_engine_bit_for_bit() {
    for device in devices() {
        for (i, name) in architectures().into_iter().enumerate() {
            let (ids, _) = expected(&fixtures().join(name));
            let plain = plain(name, device.clone());
            let router = ROUTERS[i % ROUTERS.len()];
            let routed = engine(
                &routed(name, Factors::Quarter, router),
                exact_in_turn(i, device.clone()),
            );
            for max_rows in ROW_SIZES {
                let want = logits(&mut all_logits(&plain, max_rows), &ids);
                for routes in [Routes::FULL, Routes::Effort(1.0), NONE_LOW] {
                    let mut session = with_routes(&routed, max_rows, &routes);
                    assert_eq!(session.is_all_full(), routes != NONE_LOW);
                    let got = logits(&mut session, &ids);
                    assert!(
                        want == got,
                        "{name} in pieces of {max_rows} on {}, {routes:?}",
                        plain.device()
                    );
                    let taken = taken(&mut session);
                    let shares = [taken.attention_low, taken.ffn_low, taken.ffn_skipped];
                    assert_eq!((shares, taken.compute), ([0.0; 3], 1.0));
                }
            }
        }
    }
}

/// What is left of the routers is a call a layer that notes the branches, and one more that lists many rows.
#[test]
fn all_full_computes_no_routers_and_no_factors() {
    for name in architectures() {
        let plain = plain(name, DeviceChoice::Cpu);
        for router in ROUTERS {
            let model = routed(name, Factors::Quarter, router);
            let routed = engine(&model, exact(DeviceChoice::Cpu));
            for rows in ROW_SIZES {
                let calls = |engine: &Engine| -> Vec<Call> {
                    let size = Size {
                        rows,
                        n_out: 1,
                        sample: true,
                        all_full: true,
                    };
                    let settings = deputy::plan::Settings {
                        arenas: vec![],
                        ..engine.settings(1)
                    };
                    let graph = &engine.model().graph;
                    let plan = lower(graph, engine.layouts(), &settings, size);
                    plan.dispatches.into_iter().map(|d| d.call).collect()
                };
                let want = calls(&plain);
                let (notes, rest): (Vec<Call>, Vec<Call>) = calls(&routed)
                    .into_iter()
                    .partition(|call| matches!(call, Call::Route(_) | Call::PlaceRows(_)));
                let n_layers = routed.config().n_layers as usize;
                let calls_a_layer = if rows < MATMUL_ROWS { 1 } else { 2 };
                assert_eq!(notes.len(), calls_a_layer * n_layers, "{name}, {rows} rows");
                assert_eq!(rest, want, "{name}, {rows} rows");
            }
        }
    }
}

/// DEPUTY.md, 2: factors of full rank, whose product is the matrix.
#[test]
fn exact_factors_agree_with_transformers() {
    for device in devices() {
        for (i, name) in architectures().into_iter().enumerate() {
            let (ids, want) = expected(&fixtures().join(name));
            let model = routed(name, Factors::Exact, RouterKind::Linear);
            let engine = engine(&model, exact_in_turn(i + 1, device.clone()));
            for max_rows in ROW_SIZES {
                let mut session = with_routes(&engine, max_rows, &Routes::LOW);
                let got = logits(&mut session, &ids);
                let worst = compare(&got, &want, want.len() / ids.len(), 1e-4);
                worst.unwrap_or_else(|e| {
                    panic!("{name}, {max_rows} rows, {}: {e}", engine.device())
                });
                assert_eq!(taken(&mut session).attention_low, 1.0);
            }
        }
    }
}

/// DEPUTY.md, 8: a network without FFNs is one whose down projections are zero.
#[test]
fn skipped_ffns_leave_the_attention_alone() {
    for device in devices() {
        for name in architectures() {
            let (ids, _) = expected(&fixtures().join(name));
            let mut files = read_folder(&fixtures().join(name));
            for layer in 0.. {
                let tensor = format!("model.layers.{layer}.mlp.down_proj.weight");
                let mut is_there = false;
                let seen = std::cell::Cell::new(false);
                let changed = change_tensor(files.clone(), &tensor, |found| {
                    if let Some((_, _, bytes)) = found {
                        bytes.fill(0);
                        seen.set(true);
                    }
                });
                is_there |= seen.get();
                if !is_there {
                    break;
                }
                files = changed;
            }
            let plain = load_file(open_memory(files).unwrap(), exact(device.clone())).unwrap();
            let model = routed(name, Factors::Quarter, RouterKind::Linear);
            let engine = engine(&model, exact(device.clone()));
            let skip = Routes::All(LayerBranches {
                attention: Branch::Full,
                ffn: Branch::Skipped,
            });
            for max_rows in ROW_SIZES {
                let want = logits(&mut all_logits(&plain, max_rows), &ids);
                let mut session = with_routes(&engine, max_rows, &skip);
                let got = logits(&mut session, &ids);
                let vocab = engine.config().vocab_size as usize;
                compare(&got, &want, vocab, 1e-5).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(taken(&mut session).ffn_skipped, 1.0);
            }
        }
    }
}

/// DEPUTY.md, 6 and 9: the routes and logits of tokens on mixed branches are those of the CPU, however the prompt is
/// cut into steps.
#[test]
fn mixed_branches_agree_between_devices_and_cuts() {
    for (first, router) in [(1, RouterKind::Linear), (2, RouterKind::Mlp { width: 32 })] {
        for (i, name) in architectures().into_iter().enumerate() {
            let (ids, _) = expected(&fixtures().join(name));
            let model = routed(name, Factors::Quarter, router);
            let cpu = engine(&model, exact(DeviceChoice::Cpu));
            for routes in [
                Routes::default(),
                Routes::Shares {
                    attention_low: 0.4,
                    ffn_low: 0.3,
                    ffn_skipped: 0.2,
                    seed: 3,
                },
            ] {
                let mut session = with_routes(&cpu, 256, &routes);
                let want = logits(&mut session, &ids);
                let routes_taken = taken(&mut session);
                let mixed = |share: f64| share > 0.05 && share < 0.95;
                assert!(
                    mixed(routes_taken.attention_low) && mixed(routes_taken.ffn_skipped),
                    "{name}: {routes_taken:?}"
                );
                for device in devices() {
                    let engine = engine(&model, exact_in_turn(first + i, device));
                    for max_rows in [1, 4, 8, 256] {
                        let mut session = with_routes(&engine, max_rows, &routes);
                        let got = logits(&mut session, &ids);
                        let at =
                            format!("{name}, {routes:?}, {max_rows} rows, {}", engine.device());
                        assert_eq!(taken(&mut session), routes_taken, "{at}");
                        let vocab = engine.config().vocab_size as usize;
                        compare(&got, &want, vocab, 1e-4).unwrap_or_else(|e| panic!("{at}: {e}"));
                    }
                }
            }
        }
    }
}

/// DEPUTY.md, 6: rows of other sequences in a step change nothing.
#[test]
fn routes_do_not_depend_on_batch_mates() {
    let model = routed("llama-gqa-tied", Factors::Quarter, RouterKind::Linear);
    for device in devices() {
        let engine = engine(&model, exact(device));
        let (ids, _) = expected(&fixtures().join("llama-gqa-tied"));
        let (ids, others) = (&ids[..12], &ids[12..24]);
        let mut alone = with_routes(&engine, 16, &Routes::default());
        let want = logits(&mut alone, ids);
        let want_routes = taken(&mut alone);
        let mut session = session(
            &engine,
            SessionOptions {
                n_sequences: 2,
                all_logits: true,
                max_rows: 16,
                ..Default::default()
            },
        );
        let both = ids.iter().zip(others);
        let tokens: Vec<(u32, u32)> = both.flat_map(|(&a, &b)| [(0, a), (1, b)]).collect();
        let wanted: Vec<u32> = (0..12).map(|i| 2 * i).collect();
        let got = pollster::block_on(session.forward(&tokens, &wanted)).unwrap();
        assert_eq!(taken(&mut session), want_routes);
        let vocab = engine.config().vocab_size as usize;
        compare(&got, &want, vocab, 1e-4).unwrap();
    }
}

/// More effort computes more; all of it is the plain engine, and so is a model whose sidecar is left alone.
#[test]
fn effort_moves_what_is_computed() {
    let name = "llama-gqa-tied";
    let model = routed(name, Factors::Quarter, RouterKind::Linear);
    let (ids, _) = expected(&fixtures().join(name));
    for device in devices() {
        let want = logits(&mut all_logits(&plain(name, device.clone()), 256), &ids);
        let engine = engine(&model, exact(device.clone()));
        let mut last = 0.0;
        for effort in [0.0, 0.35, 0.5, 0.65, 1.0] {
            let mut session = with_routes(&engine, 256, &Routes::Effort(effort));
            let got = logits(&mut session, &ids);
            let compute = taken(&mut session).compute;
            assert!(compute >= last, "{compute} at {effort}, {last} before");
            last = compute;
            assert_eq!(got == want, effort == 1.0);
        }
        assert_eq!(last, 1.0);
        let options = LoadOptions {
            dense: true,
            ..exact(device)
        };
        let dense = load_file(open_memory(model.clone()).unwrap(), options).unwrap();
        let mut session = all_logits(&dense, 256);
        assert_eq!(logits(&mut session, &ids), want);
        assert_eq!(pollster::block_on(session.taken_routes(0)).unwrap(), None);
    }
}

#[test]
fn routes_that_cannot_be_taken_are_refused() {
    let model = routed("llama-gqa-tied", Factors::Quarter, RouterKind::Linear);
    let engine = engine(&model, exact(DeviceChoice::Cpu));
    let mut session = all_logits(&engine, 8);
    let shares = |attention_low, ffn_low, ffn_skipped| Routes::Shares {
        attention_low,
        ffn_low,
        ffn_skipped,
        seed: 0,
    };
    let skip = LayerBranches {
        attention: Branch::Skipped,
        ffn: Branch::Full,
    };
    for (routes, error) in [
        (
            shares(1.5, 0.0, 0.0),
            "attention_low: expected 0 to 1, found 1.5",
        ),
        (
            shares(0.0, 0.75, 0.5),
            "ffn_low + ffn_skipped: expected 0 to 1, found 1.25",
        ),
        (
            shares(f32::NAN, 0.0, 0.0),
            "attention_low: expected 0 to 1, found NaN",
        ),
        (
            Routes::Layers(vec![]),
            "layers: expected 2, one for each layer, found 0",
        ),
        (
            Routes::All(skip),
            "attention: expected full or low: no token may be without keys and values, found skipped",
        ),
        (
            Routes::Effort(1.5),
            "effort: expected a number from 0 to 1, found 1.5",
        ),
        (
            Routes::Effort(f32::NAN),
            "effort: expected a number from 0 to 1, found NaN",
        ),
    ] {
        assert_eq!(session.set_routes(&routes).unwrap_err().to_string(), error);
    }
    let plain = plain("llama-gqa-tied", DeviceChoice::Cpu);
    let error = all_logits(&plain, 8).set_routes(&Routes::FULL).unwrap_err();
    assert_eq!(
        error.to_string(),
        "routes: expected a model with routers, found none"
    );
}

fn answer(session: &mut Session, prompt: &[u32], n: usize, sampler: SamplerParams) -> Generation {
    let options = GenerateOptions {
        max_tokens: Some(n),
        sampler: Some(sampler),
        ignore_eos: true,
        ..Default::default()
    };
    let mut go_on = |_: deputy::Piece<'_>| ControlFlow::Continue(());
    pollster::block_on(session.generate(prompt, &options, &mut go_on)).unwrap()
}

/// The same tokens, greedy or drawn with penalties, whatever was drafted; also after another answer and at the end of
/// the context.
#[test]
fn drafts_change_no_answer() {
    let drawn = SamplerParams {
        temperature: 0.9,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.01,
        repeat_penalty: 1.2,
        seed: 11,
    };
    for device in devices() {
        for (kind, name, mode) in [
            (Factors::Quarter, "llama-gqa-tied", CacheMode::LatentV),
            (Factors::Quarter, "qwen3", CacheMode::Latent),
            (Factors::Exact, "mistral-window", CacheMode::Dense),
        ] {
            let model = routed(name, kind, RouterKind::Linear);
            let options = LoadOptions {
                n_ctx: Some(64),
                cache_mode: Some(mode),
                ..exact(device.clone())
            };
            let engine = engine(&model, options);
            for routes in [Routes::FULL, Routes::default()] {
                for sampler in [SamplerParams::greedy(), drawn] {
                    let mut plain = with_routes(&engine, 16, &routes);
                    let prompt: Vec<u32> = (20..29).collect();
                    let want = answer(&mut plain, &prompt, 30, sampler);
                    let to_the_end = answer(&mut plain, &prompt[..3], 1000, sampler);
                    for (speculate, draft_effort) in
                        [(1, 0.0), (3, 0.3), (5, 1.0), (deputy::MAX_DRAFTS, 0.0)]
                    {
                        let at = format!(
                            "{name}, {routes:?}, {sampler:?}, {speculate} drafts at {draft_effort}"
                        );
                        let options = SessionOptions {
                            speculate,
                            draft_effort,
                            max_rows: 16,
                            ..Default::default()
                        };
                        let mut session = session(&engine, options);
                        session.set_routes(&routes).unwrap();
                        let got = answer(&mut session, &prompt, 30, sampler);
                        assert_eq!(got.ids, want.ids, "{at}");
                        assert!(got.n_drafted > 0 && got.n_accepted <= got.n_drafted);
                        if draft_effort == 1.0 && routes == Routes::FULL {
                            assert_eq!(got.n_accepted, got.n_drafted, "{at}");
                        }
                        let got = answer(&mut session, &prompt[..3], 1000, sampler);
                        assert_eq!(got.ids, to_the_end.ids, "{at}, to the end");
                        assert_eq!(got.stop, StopReason::ContextFull);
                    }
                }
            }
        }
    }
}
