//! Sidecars: what was written is read back, and why others are refused.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use deputy::branch::{
    Draft, Effort, Error, FactorFormat, ModelIdentity, ModelShape, Offsets, Settings, Sidecar,
};
use deputy::file::{Beside, MemoryFolder, ModelFile, SliceSource};
use deputy::graph::{CacheMode, LayerRanks, PREFIX, RouterKind, Routing};
use deputy::tensor::DType;
use deputy::tensor::quant::{dequantize_row, quantize_row};
use pollster::block_on;
use serde_json::json;

use crate::common::*;

pub(crate) fn shape() -> ModelShape {
    ModelShape {
        architecture: "llama".to_owned(),
        n_layers: 3,
        dim: 16,
        ffn_dim: 24,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
    }
}

pub(crate) fn model_files() -> [(&'static str, Vec<u8>); 2] {
    [
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", small_safetensors()),
    ]
}

pub(crate) fn identity() -> ModelIdentity {
    let file = open_folder(model_files()).expect("a valid folder");
    block_on(ModelIdentity::of(&file, shape())).expect("can be read")
}

pub(crate) fn settings(router: RouterKind) -> Settings {
    let entry = |effort, attention, ffn| Offsets {
        effort,
        attention,
        ffn,
    };
    let table = vec![
        entry(0.0, -4.0, -3.0),
        entry(0.1, -2.0, -2.5),
        entry(0.5, 0.25, 1.0),
    ];
    Settings {
        routing: Routing {
            router,
            dense_layers: 1,
            dense_tokens: 2,
            layers: vec![
                LayerRanks::default(),
                LayerRanks {
                    q: Some(8),
                    k: Some(4),
                    v: Some(8),
                    ..LayerRanks::default()
                },
                LayerRanks {
                    o: Some(16),
                    gate: Some(4),
                    up: Some(4),
                    down: Some(12),
                    ..LayerRanks::default()
                },
            ],
        },
        cache: CacheMode::LatentV,
        factors: FactorFormat::Q8,
        effort: Effort::new(0.3, table).expect("a valid table"),
        calibration: json!({"texts": ["a.txt"], "tokens": 4096}),
    }
}

/// Names and shapes, written down by hand.
pub(crate) fn tensor_shapes(router: RouterKind) -> Vec<(String, Vec<usize>)> {
    let mut list = vec![
        ("layers.1.q.B", vec![32, 8]),
        ("layers.1.q.D", vec![8, 16]),
        ("layers.1.k.B", vec![16, 4]),
        ("layers.1.k.D", vec![4, 16]),
        ("layers.1.v.B", vec![16, 8]),
        ("layers.1.v.D", vec![8, 16]),
        ("layers.2.o.B", vec![16, 16]),
        ("layers.2.o.D", vec![16, 32]),
        ("layers.2.gate.B", vec![24, 4]),
        ("layers.2.gate.D", vec![4, 16]),
        ("layers.2.up.B", vec![24, 4]),
        ("layers.2.up.D", vec![4, 16]),
        ("layers.2.down.B", vec![16, 12]),
        ("layers.2.down.D", vec![12, 24]),
        ("layers.1.router.norm", vec![16]),
        ("layers.2.router.norm", vec![16]),
        ("layers.1.router.bias", vec![5]),
        ("layers.2.router.bias", vec![5]),
    ];
    match router {
        RouterKind::Linear => list.extend([
            ("layers.1.router.weight", vec![5, 16]),
            ("layers.2.router.weight", vec![5, 16]),
        ]),
        RouterKind::Mlp { .. } => list.extend([
            ("layers.1.router.hidden", vec![20, 16]),
            ("layers.2.router.hidden", vec![20, 16]),
            ("layers.1.router.hidden_norm", vec![20]),
            ("layers.2.router.hidden_norm", vec![20]),
            ("layers.1.router.weight", vec![5, 20]),
            ("layers.2.router.weight", vec![5, 20]),
        ]),
    }
    let named = list.into_iter();
    named
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect()
}

pub(crate) fn draft(router: RouterKind) -> Draft {
    let mut random = Random(7);
    // Quarters, which every float type has.
    let mut value = || random.below(64) as f32 / 4.0 - 8.0;
    let tensors = tensor_shapes(router).into_iter().map(|(name, shape)| {
        let n = shape.iter().product();
        (name, shape, (0..n).map(|_| value()).collect())
    });
    Draft {
        settings: settings(router),
        stored: DType::F16,
        tensors: tensors.collect(),
    }
}

pub(crate) const MLP: RouterKind = RouterKind::Mlp { width: 20 };

/// The files of a good sidecar.
pub(crate) fn good(name: &str) -> (Vec<u8>, Vec<u8>) {
    let path = folder(name);
    draft(RouterKind::Linear)
        .write(&identity(), &path)
        .expect("a valid sidecar");
    let read = |name: &str| fs::read(path.join(name)).expect("was written");
    (read("deputy.json"), read("deputy.safetensors"))
}

pub(crate) fn open(json: Vec<u8>, weights: Vec<u8>) -> Result<Option<Sidecar>, Error> {
    let sidecar = [("deputy.json", json), ("deputy.safetensors", weights)];
    let file = open_folder(model_files().into_iter().chain(sidecar)).expect("a valid folder");
    block_on(Sidecar::open(&file, shape()))
}

/// The parts of `why`, which `…` separates, stand in `message` in this order.
#[track_caller]
pub(crate) fn says(message: &str, why: &str) {
    let mut rest = message;
    for part in why.split('…').map(str::trim) {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} of {why:?} is not in {message:?}"));
        rest = &rest[at + part.len()..];
    }
    assert!(message.len() < 700, "{message}");
}

#[test]
fn a_sidecar_is_read_back_as_it_was_written() {
    for (name, router) in [("linear", RouterKind::Linear), ("mlp", MLP)] {
        let path = folder(&format!("sidecar-{name}"));
        for (name, bytes) in model_files() {
            fs::write(path.join(name), bytes).expect("a file to write");
        }
        let draft = draft(router);
        draft.write(&identity(), &path).expect("a valid sidecar");
        let mut file = block_on(ModelFile::open_path(&path)).expect("a valid folder");
        let sidecar = block_on(Sidecar::open(&file, shape()))
            .expect("a valid sidecar")
            .expect("is there");
        assert_eq!(sidecar.settings, draft.settings);
        assert!(sidecar.name.ends_with("deputy.json"), "{}", sidecar.name);
        block_on(sidecar.check_finite()).expect("all finite");

        // Its tensors are the model's from now on, and the hash is not another one.
        sidecar.add_to(&mut file).expect("new names");
        let mut n_bytes = 0;
        for (name, shape, values) in &draft.tensors {
            let name = format!("{PREFIX}{name}");
            let tensor = &file.tensors[&name];
            assert_eq!(tensor.shape.0, *shape, "{name}");
            let dtype = file.dtype(tensor).expect("a plain type");
            let is_small = [".norm", "_norm", ".weight", ".bias"];
            let is_small = is_small.iter().any(|end| name.ends_with(end));
            assert_eq!(dtype.name(), if is_small { "f32" } else { "f16" }, "{name}");
            let mut got = vec![0.0; values.len()];
            dequantize_row(dtype, &tensor_bytes(&file, &name), &mut got);
            assert_eq!(got, *values, "{name}");
            n_bytes += tensor.n_bytes();
        }
        assert_eq!(sidecar.n_bytes(), n_bytes);
        assert_eq!(file.tensors.len(), draft.tensors.len() + 3);
        assert_eq!(tensor_bytes(&file, "b"), (16..22).collect::<Vec<u8>>());
        let again = block_on(ModelIdentity::of(&file, shape())).expect("can be read");
        assert_eq!(again, identity());
        let twice = sidecar.add_to(&mut file).expect_err("they are there");
        says(
            &twice.to_string(),
            r#"tensor "deputy.layers.1.k.B" stands there twice"#,
        );

        let mut files: Vec<_> = fs::read_dir(&path)
            .expect("is there")
            .map(|entry| entry.expect("is there").file_name())
            .collect();
        files.sort();
        let expected = [
            "config.json",
            "deputy.json",
            "deputy.safetensors",
            "model.safetensors",
        ];
        assert_eq!(files, expected, "nothing else is left");
    }
}

#[test]
fn matrices_are_stored_in_blocks_where_their_rows_fill_some() {
    for stored in [DType::Q8_0, DType::Q4_0] {
        let written = Draft {
            stored,
            ..draft(MLP)
        };
        let files = written.files(&identity()).expect("a valid sidecar");
        let sidecar = open(
            files["deputy.json"].clone(),
            files["deputy.safetensors"].clone(),
        );
        let sidecar = sidecar.expect("a valid sidecar").expect("is there");
        block_on(sidecar.check_finite()).expect("all finite");
        let read = block_on(sidecar.draft()).expect("can be read");
        assert_eq!(read.settings, written.settings);
        assert_eq!(read.stored, stored);
        let read: BTreeMap<_, _> = read
            .tensors
            .into_iter()
            .map(|(name, shape, values)| (name, (shape, values)))
            .collect();
        for (name, shape, values) in written.tensors {
            let mut want = values;
            // The only one whose rows have 32 elements.
            if name == "layers.2.o.D" {
                for row in want.chunks_mut(32) {
                    let mut bytes = vec![];
                    quantize_row(stored, row, &mut bytes);
                    dequantize_row(stored, &bytes, row);
                }
            }
            assert_eq!(read[&name], (shape, want), "{name}");
        }
    }
}

#[test]
fn a_model_without_a_sidecar_has_none() {
    let file = open_folder(model_files()).expect("a valid folder");
    assert!(
        block_on(Sidecar::open(&file, shape()))
            .expect("no error")
            .is_none()
    );
    let file = open_gguf(Gguf::small().bytes()).expect("a valid file");
    assert!(
        block_on(Sidecar::open(&file, shape()))
            .expect("no error")
            .is_none()
    );
}

#[test]
fn a_gguf_file_has_its_own_sidecar_or_shares_its_folders() {
    let path = folder("sidecar-gguf");
    let write =
        |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).expect("can be written");
    write("m.gguf", &Gguf::small().bytes());
    write(
        "other.gguf",
        &Gguf::small().tensor("x", &[4], 0, 16).bytes(),
    );
    let open = |name: &str| {
        let file = block_on(ModelFile::open_path(&path.join(name))).expect("a valid file");
        block_on(Sidecar::open(&file, shape()))
    };
    let identity = |name: &str| {
        let file = block_on(ModelFile::open_path(&path.join(name))).expect("a valid file");
        block_on(ModelIdentity::of(&file, shape())).expect("can be read")
    };
    assert!(open("m.gguf").expect("no error").is_none());

    let draft = draft(MLP);
    draft
        .write(&identity("m.gguf"), &path)
        .expect("a valid sidecar");
    let found = open("m.gguf").expect("it fits").expect("is there");
    assert!(
        found.name.ends_with("sidecar-gguf/deputy.json"),
        "{}",
        found.name
    );
    assert!(open("other.gguf").expect("not its own").is_none());

    draft
        .write(&identity("other.gguf"), &path.join("other.gguf"))
        .expect("a valid sidecar");
    let found = open("other.gguf").expect("it fits").expect("is there");
    assert!(found.name.ends_with("other.deputy.json"), "{}", found.name);
    // What bears a model's name is an error where it does not fit.
    fs::rename(path.join("other.deputy.json"), path.join("m.deputy.json")).expect("is there");
    let error = open("m.gguf").expect_err("another model's");
    says(
        &error.to_string(),
        "m.deputy.json: belongs to another model: model.hash: expected … found",
    );
    write(
        "m.deputy.json",
        &fs::read(path.join("deputy.json")).expect("is there"),
    );
    let error = open("m.gguf").expect_err("half of it");
    says(
        &error.to_string(),
        r#"file "m.deputy.safetensors" is missing"#,
    );

    // A name that no folder takes is a model without a sidecar of its own.
    for stem in ["a:b", "", &"n".repeat(250)] {
        let beside = Beside {
            folder: Arc::new(MemoryFolder::new("empty", BTreeMap::new())),
            stem: Some(stem.to_owned()),
        };
        let odd = open_gguf(Gguf::small().bytes())
            .expect("a valid file")
            .with_beside(beside);
        assert!(
            block_on(Sidecar::open(&odd, shape()))
                .expect("no error")
                .is_none()
        );
    }
}

#[test]
fn writing_again_replaces_both_files_and_failing_keeps_none_of_a_new_one() {
    let path = folder("sidecar-again");
    let open = || {
        let files = fs::read_dir(&path).expect("is there").map(|entry| {
            let entry = entry.expect("is there");
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read(entry.path()).expect("can be read"))
        });
        let mut folder = MemoryFolder::new("model", files.collect());
        for (name, bytes) in model_files() {
            folder.insert(name, Arc::new(SliceSource::new(name, bytes)));
        }
        let file = block_on(ModelFile::open_folder(Arc::new(folder))).expect("a valid folder");
        block_on(Sidecar::open(&file, shape()))
    };
    let written = |router| draft(router).write(&identity(), &path);
    for router in [RouterKind::Linear, MLP] {
        written(router).expect("can be written");
        let sidecar = open().expect("it fits").expect("is there");
        assert_eq!(sidecar.settings.routing.router, router);
    }
    // Where the new tensors cannot be put in place, there is no sidecar; the halves never meet.
    fs::remove_file(path.join("deputy.safetensors")).expect("is there");
    fs::create_dir_all(path.join("deputy.safetensors/taken")).expect("can be made");
    let error = written(RouterKind::Linear).expect_err("taken").to_string();
    says(&error, "deputy.safetensors: ");
    let left: Vec<_> = fs::read_dir(&path)
        .expect("is there")
        .map(|e| e.expect("is there").file_name())
        .collect();
    assert_eq!(
        left,
        ["deputy.safetensors"],
        "no JSON that names it, nothing partial"
    );

    // A folder that is not there yet is made; a file's sidecar lies beside it.
    let deeper = path.join("new/folder");
    draft(MLP)
        .write(&identity(), &deeper)
        .expect("can be written");
    draft(MLP)
        .write(&identity(), &path.join("x/m.gguf"))
        .expect("can be written");
    draft(MLP)
        .write(&identity(), &path.join("y/config.json"))
        .expect("can be written");
    for name in [
        "new/folder/deputy.json",
        "x/m.deputy.safetensors",
        "y/deputy.json",
    ] {
        assert!(path.join(name).is_file(), "{name}");
    }
}
