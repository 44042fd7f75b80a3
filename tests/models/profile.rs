use std::sync::Arc;
use std::time::{Duration, Instant};

use deputy::gpu::{Gpu, GpuOptions, State, Weights, adapters};
use deputy::graph::RouterKind;
use deputy::kernels::CacheType;
use deputy::kernels::linear::Activations;
use deputy::plan::{Settings, Size, lower};
use deputy::{DeviceChoice, Error, WeightFormat};

use crate::routed::{Factors, engine, routed};
use crate::support::*;

#[test]
fn a_profile_times_every_kernel_and_leaves_the_sequence_as_it_was() {
    for device in devices() {
        let engine = load(&fixtures().join("qwen3"), exact(device.clone()));
        let mut fresh = session(&engine, Default::default());
        let mut profiled = session(&engine, Default::default());
        let prompt: Vec<u32> = (40..60).collect();
        let before = logits_of_last(&mut fresh, &prompt);
        assert_eq!(logits_of_last(&mut profiled, &prompt), before);
        for tokens in [&[7, 8, 9, 10, 11][..], &[12]] {
            // Makes the pipelines, which the time of the next call would hide the kernels in.
            pollster::block_on(profiled.profile(tokens, 1)).unwrap();
            let start = Instant::now();
            let profile = pollster::block_on(profiled.profile(tokens, 3)).unwrap();
            let took = start.elapsed();
            assert_eq!(
                profile.plan.size.rows,
                tokens.len().next_power_of_two() as u32
            );
            assert_eq!(profile.kernels.len(), profile.plan.dispatches.len());
            for (dispatch, (name, time)) in profile.plan.dispatches.iter().zip(&profile.kernels) {
                // Kernels that stand in for another begin with its name.
                assert!(name.starts_with(dispatch.call.kernel()), "{name}");
                assert!(*time > Duration::ZERO, "{name}");
            }
            // Two of three runs took a median or longer, and all of them one after the other.
            let kernels: Duration = profile.kernels.iter().map(|(_, time)| *time).sum();
            assert!(
                2 * (kernels + profile.step) < took,
                "kernels {kernels:?}, step {:?}, all of it {took:?}",
                profile.step
            );
            let on_gpu = device != DeviceChoice::Cpu;
            let variant = |(name, _): &(String, _)| name.starts_with("matvec_");
            assert_eq!(profile.kernels.iter().any(variant), on_gpu);
        }
        assert_eq!(profiled.tokens(0), prompt);
        let after = logits_of_last(&mut fresh, &[70]);
        assert_eq!(logits_of_last(&mut profiled, &[70]), after);
    }
}

/// To the six calls of a layer come the router's and those of the second factors: of queries, keys and values (one
/// where their ranks are alike, or one of queries and one of the others), of o, of gate and up, and of down.
#[test]
fn a_routed_layer_takes_five_or_six_calls_more() {
    for (name, n_calls) in [("qwen2", 11), ("qwen3", 12)] {
        let model = routed(name, Factors::Quarter, RouterKind::Linear);
        let engine = engine(&model, exact(DeviceChoice::Cpu));
        let mut session = session(&engine, Default::default());
        let plan = pollster::block_on(session.profile(&[40], 1)).unwrap().plan;
        let of_layer = |label: &str| label.starts_with("layers.0.");
        let calls = plan.dispatches.iter().filter(|call| of_layer(&call.label));
        let kernels: Vec<&str> = calls.map(|call| call.call.kernel()).collect();
        assert_eq!(kernels.len(), n_calls, "{name}: {kernels:?}");
    }
}

#[test]
fn a_step_that_cannot_be_is_not_profiled() {
    for device in devices() {
        let mut options = exact(device);
        options.n_ctx = Some(16);
        let engine = load(&fixtures().join("qwen3"), options);
        let mut session = session(&engine, Default::default());
        logits_of_last(&mut session, &[40; 10]);
        let mut error =
            |tokens: &[u32]| pollster::block_on(session.profile(tokens, 1)).unwrap_err();
        assert!(matches!(error(&[]), Error::EmptyPrompt));
        assert!(matches!(
            error(&[1; 7]),
            Error::PromptTooLong {
                found: 17,
                limit: 16
            }
        ));
        assert!(matches!(error(&[1 << 20]), Error::UnknownToken { .. }));
        assert!(pollster::block_on(session.profile(&[1; 6], 0)).is_ok());
    }
}

/// A query set holds the timestamps of 2048 dispatches.
#[test]
fn more_dispatches_than_a_query_set_holds_are_timed() {
    if !has_gpu() {
        return;
    }
    pollster::block_on(async {
        let path = fixtures().join("qwen3");
        let file = deputy::file::ModelFile::open_path(&path).await.unwrap();
        let model = deputy::model::Model::open(&file, None).await.unwrap();
        let layouts = WeightFormat::default().layouts(&model, None);
        let gpu = Arc::new(
            Gpu::open(adapters().await.swap_remove(0), GpuOptions::default())
                .await
                .unwrap(),
        );
        let weights = Weights::new(&gpu, &model.graph, &layouts).await.unwrap();
        let settings = Settings {
            n_ctx: 16,
            n_sequences: 1,
            cache: CacheType::F16,
            activations: Activations::F32,
            n_splits: 1,
            arenas: vec![],
        };
        let size = Size {
            rows: 1,
            n_out: 1,
            sample: true,
            all_full: false,
        };
        let mut plan = lower(&model.graph, &layouts, &settings, size);
        let mut state = State::new(
            gpu,
            weights.into(),
            &model.graph,
            &settings,
            &plan.slots,
            size,
        )
        .await
        .unwrap();
        let n = plan.dispatches.len();
        for _ in 0..2048 / n {
            plan.dispatches.extend_from_within(..n);
        }
        assert!(plan.dispatches.len() > 2048);
        let times = state.profile(&plan).await.unwrap();
        assert_eq!(times.len(), plan.dispatches.len());
        for ((name, time), (first, _)) in times.iter().zip(times[..n].iter().cycle()) {
            assert_eq!(name, first);
            assert!(!time.is_zero() && time.as_secs() < 1, "{name} {time:?}");
        }
    });
}

fn logits_of_last(session: &mut deputy::Session, ids: &[u32]) -> Vec<f32> {
    let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
    pollster::block_on(session.forward(&tokens, &[ids.len() as u32 - 1])).unwrap()
}
