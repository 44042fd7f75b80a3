use std::fs;

use deputy::fit::{Fitted, Linear, LinearReport, Offset, Report, RouterReport, Tensor, write};
use deputy::graph::{CacheMode, LayerRanks, RouterKind, Routing};

use super::{empty, fixture, load};

fn fitted() -> Fitted {
    let tensor = |name: &str, shape: &[usize]| Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: (0..shape.iter().product()).map(|i| i as f32).collect(),
    };
    let ranks = LayerRanks {
        q: Some(4),
        ..Default::default()
    };
    Fitted {
        routing: Routing {
            router: RouterKind::Linear,
            dense_layers: 1,
            dense_tokens: 2,
            layers: vec![LayerRanks::default(), ranks],
        },
        tensors: vec![
            tensor("layers.1.router.bias", &[5]),
            tensor("layers.1.q.B", &[32, 4]),
            tensor("layers.1.q.D", &[4, 32]),
        ],
        effort: vec![Offset {
            effort: 0.0,
            attention: -4.0,
            ffn: -4.0,
            share: 0.4,
        }],
        report: Report {
            texts: vec!["a.txt".to_owned()],
            n_tokens: 99,
            linears: vec![LinearReport {
                layer: 1,
                linear: Linear::Q,
                shape: [32, 32],
                rank: 4,
                captured: 0.5,
                output_error: 0.25,
            }],
            routers: vec![RouterReport {
                layer: 1,
                r2: [0.5; 3],
                error: [0.1; 3],
            }],
        },
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_sidecar_says_what_was_fitted() {
    let config = load(&fixture(), deputy::DeviceChoice::Cpu).config().clone();
    let folder = empty("fit-written");
    for out in [folder.clone(), folder.join("new/folder")] {
        // Over what is there, too.
        for _ in 0..2 {
            write(&fitted(), &config, CacheMode::LatentV, &out).unwrap();
        }
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("deputy.json")).unwrap()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["model"]["architecture"], "llama");
        assert_eq!(json["model"]["ffn_dim"], 64);
        assert_eq!(json["dense_layers"], 1);
        assert_eq!(json["router"]["kind"], "linear");
        assert_eq!(json["cache"], "latent-v");
        assert_eq!(json["layers"], serde_json::json!([{}, {"q": 4}]));
        assert_eq!(json["effort"]["offsets"][0]["ffn"], -4.0);
        assert_eq!(json["calibration"]["tokens"], 99);
        let bytes = fs::read(out.join("deputy.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.len(), 3);
        for tensor in fitted().tensors {
            let view = tensors.tensor(&tensor.name).unwrap();
            assert_eq!(view.shape(), tensor.shape);
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            assert_eq!(values, tensor.values);
        }
    }
    assert_eq!(names(&folder), ["deputy.json", "deputy.safetensors", "new"]);
}

#[test]
fn a_fit_that_cannot_be_written_leaves_no_half_files() {
    let config = load(&fixture(), deputy::DeviceChoice::Cpu).config().clone();
    let folder = empty("fit-half");
    // The second file cannot be moved: a folder of its name is there, and not empty.
    let out = folder.join("out");
    fs::create_dir_all(out.join("deputy.json/held")).unwrap();
    let error = write(&fitted(), &config, CacheMode::Dense, &out).unwrap_err();
    assert!(error.to_string().contains("deputy.json"), "{error}");
    assert_eq!(names(&out), ["deputy.json"]);
    // The folder cannot be made: a file of its name is there.
    let out = folder.join("file");
    fs::write(&out, "kept").unwrap();
    write(&fitted(), &config, CacheMode::Dense, &out).unwrap_err();
    // A tensor that is not as long as its shape says.
    let mut wrong = fitted();
    wrong.tensors[1].values.pop();
    write(&wrong, &config, CacheMode::Dense, &folder.join("short")).unwrap_err();
    assert_eq!(names(&folder), ["file", "out"]);
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
}
