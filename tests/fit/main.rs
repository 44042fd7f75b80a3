//! Factors and routers from a model and a text.
#![cfg(feature = "fit")]

#[path = "../common/mod.rs"]
mod common;

mod algebra;
mod draft;
mod edit;
mod flatten;
mod model;
mod outliers;
mod trace;

use std::path::{Path, PathBuf};

use deputy::kernels::CacheType;
use deputy::{DeviceChoice, Engine, LoadOptions};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn fixture() -> PathBuf {
    root().join("tests/data/models/llama-gqa-tied")
}

/// What lies beside the repository, where it does.
fn shared(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// The CPU, and the first GPU if there is one. `DEPUTY_GPU=required` insists on it.
fn devices() -> Vec<DeviceChoice> {
    let found = !pollster::block_on(deputy::gpu::adapters()).is_empty();
    let required = std::env::var("DEPUTY_GPU").is_ok_and(|v| v == "required");
    assert!(
        found || !required,
        "DEPUTY_GPU=required, and there is no adapter"
    );
    if !found {
        eprintln!("skipped on the GPU: no adapter");
        return vec![DeviceChoice::Cpu];
    }
    vec![DeviceChoice::Cpu, DeviceChoice::Index(0)]
}

fn load(path: &Path, device: DeviceChoice) -> Engine {
    let options = LoadOptions {
        device,
        cache: Some(CacheType::F32),
        ..Default::default()
    };
    pollster::block_on(Engine::load(path, options, &mut |_| {})).unwrap_or_else(|e| panic!("{e}"))
}

/// An empty folder of the test's own.
fn empty(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
