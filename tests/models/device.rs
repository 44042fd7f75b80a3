//! What the host proves so that the device need not check it, and what is kept from run to run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use deputy::file::ModelFile;
use deputy::gpu::Tuning;
use deputy::gpu::{self, Gpu, GpuOptions, State, Weights};
use deputy::kernels::linear::Activations;
use deputy::kernels::{CacheType, PADDING, Row};
use deputy::model::Model;
use deputy::plan::{Buffer, Settings, Size, lower};
use deputy::{Cancel, DeviceChoice, Engine, Error, LoadOptions, WeightFormat};

use crate::support::*;

#[test]
fn logits_are_bit_equal_with_and_without_checks() {
    if !has_gpu() {
        return;
    }
    for name in ["llama-gqa-tied", "qwen3", "gguf-q4_0", "gguf-q4_k_m"] {
        let path = fixtures().join(name);
        let path = if path.join("model.gguf").exists() {
            path.join("model.gguf")
        } else {
            path
        };
        let logits = |checked, cache| {
            let options = LoadOptions {
                checked,
                cache: Some(cache),
                ..exact(DeviceChoice::Index(0))
            };
            let engine = load(&path, options);
            // A prompt, then single tokens: the kernels for many rows and those for few.
            let mut session = all_logits(&engine, 16);
            let mut all = logits(&mut session, &(3..16).collect::<Vec<u32>>());
            all.extend((20..24).flat_map(|id| logits(&mut session, &[id])));
            all
        };
        for cache in [CacheType::F32, CacheType::F16] {
            let (checked, unchecked) = (logits(true, cache), logits(false, cache));
            assert!(!checked.is_empty());
            let same = checked
                .iter()
                .zip(&unchecked)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name} with a cache in {cache:?}");
        }
    }
}

/// A session's buffers for steps of up to 8 rows.
struct Small {
    state: State,
    model: Model,
    settings: Settings,
    layouts: Vec<deputy::plan::WeightLayout>,
}

impl Small {
    fn new() -> Self {
        let path = fixtures().join("llama-gqa-tied");
        pollster::block_on(async {
            let file = ModelFile::open_path(&path).await.unwrap();
            let model = Model::open(&file, None).await.unwrap();
            let layouts = WeightFormat::Auto.layouts(&model, None);
            let settings = Settings {
                n_ctx: 32,
                n_sequences: 2,
                cache: CacheType::F32,
                activations: Activations::F32,
                n_splits: 4,
                arenas: vec![],
            };
            let adapter = gpu::adapters().await.swap_remove(0);
            let gpu = Gpu::open(adapter, GpuOptions::default()).await.unwrap();
            let weights = Weights::new(&gpu, &model.graph, &layouts).await.unwrap();
            let size = size(8);
            let slots = lower(&model.graph, &layouts, &settings, size).slots;
            let (gpu, weights) = (Arc::new(gpu), Arc::new(weights));
            let state = State::new(gpu, weights, &model.graph, &settings, &slots, size);
            Self {
                state: state.await.unwrap(),
                model,
                settings,
                layouts,
            }
        })
    }

    /// Whether a step of so many rows, of a session with these settings, is run.
    fn runs(&mut self, rows: u32, settings: Settings) -> bool {
        let plan = lower(&self.model.graph, &self.layouts, &settings, size(rows));
        let all = 0..plan.dispatches.len();
        let run = || pollster::block_on(self.state.run(&plan, all, None));
        catch_unwind(AssertUnwindSafe(run)).is_ok()
    }
}

fn size(rows: u32) -> Size {
    Size {
        rows,
        n_out: 1,
        sample: true,
        all_full: false,
    }
}

#[test]
fn rows_that_point_nowhere_never_reach_the_device() {
    if !has_gpu() {
        return;
    }
    let small = Small::new();
    let is_written = |buffer, words: &[u32]| {
        let write = || small.state.write(buffer, 0, bytemuck::cast_slice(words));
        catch_unwind(AssertUnwindSafe(write)).is_ok()
    };
    for (sequence, position, good) in [
        (0, 0, true),
        (1, 31, true),
        (1, PADDING, true),
        (2, 0, false),
        (2, PADDING, false),
        (0, 32, false),
        (1, PADDING - 1, false),
    ] {
        let row = Row { sequence, position };
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&row));
        assert_eq!(is_written(Buffer::Rows, words), good, "{row:?}");
    }
    assert!(is_written(Buffer::OutRows, &[7]));
    assert!(!is_written(Buffer::OutRows, &[8]));
}

#[test]
fn a_plan_that_reaches_beyond_its_buffers_is_not_run() {
    if !has_gpu() {
        return;
    }
    let mut small = Small::new();
    let settings = small.settings.clone();
    assert!(small.runs(8, settings.clone()));
    assert!(
        !small.runs(16, settings.clone()),
        "more rows than there are"
    );
    let n_ctx = settings.n_ctx + 1;
    let longer = Settings {
        n_ctx,
        ..settings.clone()
    };
    assert!(!small.runs(4, longer), "a longer cache than there is");
}

#[test]
fn what_is_kept_of_pipelines_may_be_damaged() {
    if !has_gpu() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("deputy-pipelines-{}", std::process::id()));
    let ids: Vec<u32> = (3..12).collect();
    let run = || {
        let options = LoadOptions {
            cache_dir: Some(folder.clone()),
            ..exact(DeviceChoice::Index(0))
        };
        let engine = load(&fixtures().join("llama-gqa-tied"), options);
        logits(&mut all_logits(&engine, 16), &ids)
    };
    let files = || -> Vec<_> {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let first = run();
    // Drivers other than Vulkan's have no such cache.
    for path in files() {
        let whole = fs::read(&path).unwrap();
        assert_eq!(run(), first, "with the file that was kept");
        for damaged in [&whole[..whole.len() - 1], b"", &[0xff; 4096]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(run(), first);
            assert_ne!(fs::read(&path).unwrap(), damaged, "it is written anew");
        }
    }
    let _ = fs::remove_dir_all(&folder);
}

#[test]
fn a_load_report_adds_up() {
    for device in devices() {
        let is_gpu = device != DeviceChoice::Cpu;
        let engine = load(&fixtures().join("qwen3"), exact(device));
        let report = engine.load_report();
        let phases = [
            report.model,
            report.device,
            report.read,
            report.pack,
            report.upload,
        ];
        assert!(phases.iter().all(|phase| !phase.is_zero()), "{report:?}");
        assert!(phases.iter().sum::<std::time::Duration>() <= report.total);
        assert_eq!(!report.pipelines.is_zero(), is_gpu);
        assert!(report.pipelines <= report.total);
    }
}

/// The same but for rounding.
#[test]
fn loading_stops_where_it_is_asked_to() {
    let load = |cancel: &Cancel, stop_at: usize| {
        let options = LoadOptions {
            cancel: cancel.clone(),
            ..exact(DeviceChoice::Cpu)
        };
        let mut n = 0;
        let mut on_progress = |_| {
            n += 1;
            if n == stop_at {
                cancel.cancel();
            }
        };
        let path = fixtures().join("qwen3");
        let loaded = pollster::block_on(Engine::load(path, options, &mut on_progress));
        (loaded, n)
    };
    let (loaded, n_pieces) = load(&Cancel::default(), usize::MAX);
    assert!(loaded.is_ok() && n_pieces > 3);
    let (loaded, n) = load(&Cancel::default(), 2);
    assert!(matches!(loaded, Err(Error::Cancelled)) && n == 2);
}

fn assert_close(got: &[f32], want: &[f32], what: &str) {
    let vocab = got.len() / N_TOKENS;
    compare(got, want, vocab, 1e-4).unwrap_or_else(|e| panic!("{what}: {e}"));
}

const N_TOKENS: usize = 61;

/// Logits of a prompt and of single tokens behind it.
fn few_and_many(engine: &Engine) -> Vec<f32> {
    let mut session = all_logits(engine, 64);
    let mut all = logits(&mut session, &(3..60).map(|i| i % 50).collect::<Vec<u32>>());
    all.extend((20..24).flat_map(|id| logits(&mut session, &[id])));
    all
}

#[test]
fn every_candidate_of_the_constants_gives_the_same_logits() {
    if !has_gpu() {
        return;
    }
    for name in ["llama-gqa-tied", "qwen2", "qwen3", "gguf-q4_k_m"] {
        let path = fixtures().join(name);
        let path = if path.join("model.gguf").exists() {
            path.join("model.gguf")
        } else {
            path
        };
        let run = |device, tuning, capabilities| {
            let options = LoadOptions {
                tuning,
                capabilities,
                ..exact(device)
            };
            few_and_many(&load(&path, options))
        };
        let want = run(DeviceChoice::Cpu, Tuning::Off, None);
        for kind in every_kind() {
            for tuning in (0..8).map(Tuning::Forced).chain([Tuning::Off]) {
                let got = run(DeviceChoice::Index(0), tuning, Some(kind));
                assert_close(&got, &want, &format!("{name} with {tuning:?}, {kind:?}"));
            }
        }
    }
}

#[test]
fn tuned_constants_are_kept_and_give_the_same_logits() {
    if !has_gpu() {
        return;
    }
    let path = fixtures().join("llama-gqa-tied");
    let folder = std::env::temp_dir().join(format!("deputy-tuning-{}", std::process::id()));
    let run = |tuning, cache_dir| {
        let options = LoadOptions {
            tuning,
            cache_dir,
            ..exact(DeviceChoice::Index(0))
        };
        few_and_many(&load(&path, options))
    };
    let kept = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let files = fs::read_dir(&folder).into_iter().flatten();
        files
            .map(|file| file.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.starts_with("tuning-")
            })
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect()
    };
    let want = run(Tuning::Off, Some(folder.clone()));
    assert!(kept().is_empty(), "nothing is timed where tuning is off");
    assert_close(&run(Tuning::Full, Some(folder.clone())), &want, "timed");
    let first = kept();
    assert_eq!(first.len(), 1, "one file for the device");
    assert!(String::from_utf8_lossy(&first[0].1).contains("matvec"));
    assert_close(&run(Tuning::Full, Some(folder.clone())), &want, "kept");
    assert_eq!(kept(), first, "nothing is timed twice");
    // A second a step is enough for a shape at least.
    fs::remove_file(&first[0].0).unwrap();
    let n_shapes = |kept: &[(std::path::PathBuf, Vec<u8>)]| {
        String::from_utf8_lossy(&kept[0].1).matches("WG").count()
    };
    assert!(n_shapes(&first) > 1);
    let mut n_runs = 0;
    while kept()
        .first()
        .is_none_or(|_| n_shapes(&kept()) < n_shapes(&first))
    {
        assert_close(
            &run(Tuning::Auto, Some(folder.clone())),
            &want,
            "little by little",
        );
        n_runs += 1;
        assert!(n_runs <= n_shapes(&first));
    }
    // A damaged file is as none.
    fs::write(&first[0].0, b"garbage").unwrap();
    assert_close(&run(Tuning::Full, Some(folder.clone())), &want, "again");
    assert_ne!(kept()[0].1, b"garbage");
    fs::remove_dir_all(&folder).unwrap();
}
