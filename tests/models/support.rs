use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deputy::file::{ByteSource, MemoryFolder, ModelFile, SliceSource};
use deputy::gpu::Tuning;
use deputy::graph::CacheMode;
use deputy::kernels::{CacheType, Capabilities};
use deputy::{DeviceChoice, Engine, LoadOptions, Session, SessionOptions};

/// The tiny models made by `tests/data/models/make.py`.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models")
}

/// Real models beside the repository, where they are.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// The devices to test: the CPU, and the first GPU if there is one. `DEPUTY_GPU=required` insists on it.
pub(crate) fn devices() -> Vec<DeviceChoice> {
    let mut devices = vec![DeviceChoice::Cpu];
    if has_gpu() {
        devices.push(DeviceChoice::Index(0));
    }
    devices
}

pub(crate) fn has_gpu() -> bool {
    let found = !pollster::block_on(deputy::gpu::adapters()).is_empty();
    let required = std::env::var("DEPUTY_GPU").is_ok_and(|v| v == "required");
    assert!(
        found || !required,
        "DEPUTY_GPU=required, and there is no adapter"
    );
    if !found {
        eprintln!("skipped on the GPU: no adapter");
    }
    found
}

/// f32 wherever there is a choice, so that differences are rounding. `DEPUTY_TUNE` (off, or the
/// number of a candidate) and `DEPUTY_KERNELS` (gpu, software, each also with `-plain` behind it: without
/// subgroups and integers of 64 bits) have every test run on kernels that this device would not choose; `DEPUTY_CACHE` (dense, latent-v,
/// latent) has routed models keep their tokens so.
pub(crate) fn exact(device: DeviceChoice) -> LoadOptions {
    LoadOptions {
        device,
        cache: Some(CacheType::F32),
        tuning: std::env::var("DEPUTY_TUNE").map_or(Tuning::Off, |v| v.parse().unwrap()),
        capabilities: std::env::var("DEPUTY_KERNELS").ok().map(|v| match &*v {
            "gpu" => kernels(u32::MAX, false),
            "gpu-plain" => kernels(0, false),
            "software" => kernels(u32::MAX, true),
            "software-plain" => kernels(0, true),
            other => panic!("DEPUTY_KERNELS={other}"),
        }),
        cache_mode: std::env::var("DEPUTY_CACHE").ok().map(|v| {
            let mut modes = CacheMode::ALL.into_iter();
            modes.find(|mode| mode.name() == v).unwrap()
        }),
        ..Default::default()
    }
}

/// Kernels of this kind; with subgroups as large as the device's at most.
pub(crate) fn kernels(subgroups: u32, software: bool) -> Capabilities {
    Capabilities {
        subgroups,
        software,
        int64: subgroups > 0,
    }
}

/// Every kind of kernels that there is.
pub(crate) fn every_kind() -> Vec<Capabilities> {
    kernels(u32::MAX, false).choices()
}

pub(crate) fn load(path: &Path, options: LoadOptions) -> Engine {
    try_load(path, options).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn try_load(path: &Path, options: LoadOptions) -> Result<Engine, deputy::Error> {
    pollster::block_on(Engine::load(path, options, &mut |_| {}))
}

/// A folder's files, to be changed before they are opened.
pub(crate) fn read_folder(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap();
    let files = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

/// `(dtype, shape, bytes)`.
pub(crate) type Tensor = (safetensors::Dtype, Vec<usize>, Vec<u8>);

/// A folder's safetensors with one tensor changed; `None` drops it.
pub(crate) fn change_tensor(
    mut files: BTreeMap<String, Vec<u8>>,
    tensor: &str,
    change: impl Fn(&mut Option<Tensor>),
) -> BTreeMap<String, Vec<u8>> {
    let parsed = safetensors::SafeTensors::deserialize(&files["model.safetensors"]).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = parsed
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
            )
        })
        .collect();
    let mut changed = tensors.remove(tensor);
    change(&mut changed);
    if let Some(changed) = changed {
        tensors.insert(tensor.to_owned(), changed);
    }
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (
            name.clone(),
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    files.insert("model.safetensors".to_owned(), bytes);
    files
}

pub(crate) fn open_memory(
    files: BTreeMap<String, Vec<u8>>,
) -> Result<ModelFile, deputy::file::Error> {
    pollster::block_on(ModelFile::open_folder(Arc::new(MemoryFolder::new(
        "memory", files,
    ))))
}

pub(crate) fn open_gguf_bytes(bytes: Vec<u8>) -> Result<ModelFile, deputy::file::Error> {
    let source: Arc<dyn ByteSource> = Arc::new(SliceSource::new("memory.gguf", bytes));
    pollster::block_on(ModelFile::open_gguf(source))
}

pub(crate) fn load_file(file: ModelFile, options: LoadOptions) -> Result<Engine, deputy::Error> {
    pollster::block_on(Engine::from_file(file, options, &mut |_| {}))
}

pub(crate) fn session(engine: &Engine, options: SessionOptions) -> Session {
    pollster::block_on(engine.session(options)).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn all_logits(engine: &Engine, max_rows: u32) -> Session {
    let options = SessionOptions {
        all_logits: true,
        max_rows,
        ..Default::default()
    };
    session(engine, options)
}

/// Appends `ids` to the first sequence and returns the logits of all of them.
pub(crate) fn logits(session: &mut Session, ids: &[u32]) -> Vec<f32> {
    let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (0, id)).collect();
    let wanted: Vec<u32> = (0..ids.len() as u32).collect();
    pollster::block_on(session.forward(&tokens, &wanted)).unwrap_or_else(|e| panic!("{e}"))
}

/// A fixture's token ids and the logits of every position.
pub(crate) fn expected(folder: &Path) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(folder.join("logits.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = tensors.tensor("ids").unwrap();
    let logits = tensors.tensor("logits").unwrap();
    (
        bytemuck::pod_collect_to_vec(ids.data()),
        bytemuck::pod_collect_to_vec(logits.data()),
    )
}

pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn ids(value: &serde_json::Value) -> Vec<u32> {
    let list = value.as_array().unwrap();
    list.iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in row.iter().enumerate() {
        if v > row[best] {
            best = i;
        }
    }
    best
}

/// Largest difference in units of the expected logits' standard deviation, with the same argmax in every row.
pub(crate) fn compare(got: &[f32], want: &[f32], vocab: usize, limit: f64) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} logits, expected {}", got.len(), want.len()));
    }
    let mean = want.iter().map(|&v| f64::from(v)).sum::<f64>() / want.len() as f64;
    let variance = want
        .iter()
        .map(|&v| (f64::from(v) - mean).powi(2))
        .sum::<f64>()
        / want.len() as f64;
    let std = variance.sqrt();
    let mut worst = 0.0f64;
    for (row, (got, want)) in got.chunks(vocab).zip(want.chunks(vocab)).enumerate() {
        if argmax(got) != argmax(want) {
            return Err(format!(
                "row {row}: argmax {} for {}",
                argmax(got),
                argmax(want)
            ));
        }
        for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
            let difference = (f64::from(g) - f64::from(w)).abs() / std;
            if difference.is_nan() || difference > limit {
                return Err(format!(
                    "row {row}, id {i}: {g} for {w}, {difference:.2e} of the deviation {std:.3}"
                ));
            }
            worst = worst.max(difference);
        }
    }
    Ok(worst)
}
