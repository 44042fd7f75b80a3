//! Tiny models whose layers have low-rank branches and routers.

use std::collections::BTreeMap;

use deputy::branch::ModelIdentity;
use deputy::graph::{LayerRanks, RouterKind};
use deputy::model::Config;
use deputy::{Engine, LoadOptions};

use crate::support::*;

/// Which factors a test model gets.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Factors {
    /// Of full rank: the product is the matrix.
    Exact,
    /// Of a quarter of it, and unlike the matrix.
    Quarter,
}

/// A fixture with a sidecar: factors and routers for all its layers.
pub(crate) fn routed(name: &str, kind: Factors, router: RouterKind) -> BTreeMap<String, Vec<u8>> {
    let mut files = read_folder(&fixtures().join(name));
    let parsed = safetensors::SafeTensors::deserialize(&files["model.safetensors"]).unwrap();
    let weights: BTreeMap<String, (Vec<usize>, Vec<f32>)> = parsed
        .iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            let values = bytemuck::pod_collect_to_vec(view.data());
            (name.to_owned(), (view.shape().to_vec(), values))
        })
        .collect();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    let mut layers = vec![];
    while weights.contains_key(&format!("model.layers.{}.mlp.up_proj.weight", layers.len())) {
        let layer = layers.len();
        let mut ranks = [0; 7];
        let mut dim = 0;
        for (i, (short, long)) in [
            ("q", "self_attn.q_proj"),
            ("k", "self_attn.k_proj"),
            ("v", "self_attn.v_proj"),
            ("o", "self_attn.o_proj"),
            ("gate", "mlp.gate_proj"),
            ("up", "mlp.up_proj"),
            ("down", "mlp.down_proj"),
        ]
        .into_iter()
        .enumerate()
        {
            let (shape, w) = weights[&format!("model.layers.{layer}.{long}.weight")].clone();
            let [outs, ins] = shape[..] else {
                panic!("{shape:?}")
            };
            if short == "q" {
                dim = ins;
            }
            let most = outs.min(ins);
            let (rank, b, d) = match kind {
                Factors::Exact if outs <= ins => (most, identity(most), w),
                Factors::Exact => (most, w, identity(most)),
                Factors::Quarter => {
                    // In one model queries have the ranks of keys and values, so that all three are one product.
                    let most = if name == "qwen2" && short == "q" {
                        most / 2
                    } else {
                        most
                    };
                    let rank = (most / 4).next_multiple_of(4);
                    let seed = (layer * 16 + i) as u64;
                    (
                        rank,
                        noise(seed, outs * rank, 0.3),
                        noise(seed + 8, rank * ins, 0.3),
                    )
                }
            };
            ranks[i] = rank as u32;
            let name = |factor| format!("layers.{layer}.{short}.{factor}");
            tensors.insert(name("B"), (vec![outs, rank], b));
            tensors.insert(name("D"), (vec![rank, ins], d));
        }
        let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
            let name = format!("layers.{layer}.router.{name}");
            tensors.insert(name, (shape.to_vec(), values));
        };
        add("norm", &[dim], vec![1.0; dim]);
        let seed = 1000 + layer as u64;
        let width = match router {
            RouterKind::Linear => dim,
            RouterKind::Mlp { width } => {
                let width = width as usize;
                add("hidden", &[width, dim], noise(seed + 7, width * dim, 1.0));
                add("hidden_norm", &[width], vec![1.0; width]);
                width
            }
        };
        add("weight", &[5, width], noise(seed, 5 * width, 1.0));
        add("bias", &[5], vec![0.0; 5]);
        let [q, k, v, o, gate, up, down] = ranks.map(Some);
        layers.push(LayerRanks {
            q,
            k,
            v,
            o,
            gate,
            up,
            down,
        });
    }
    let views = tensors.iter().map(|(name, (shape, values))| {
        let bytes = bytemuck::cast_slice(values);
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    files.insert("deputy.safetensors".to_owned(), bytes);
    let file = open_memory(files.clone()).unwrap();
    let shape = deputy::model_shape(&Config::read(&file).unwrap());
    let identity = pollster::block_on(ModelIdentity::of(&file, shape)).unwrap();
    let router = match router {
        RouterKind::Linear => serde_json::json!({"kind": "linear"}),
        RouterKind::Mlp { width } => serde_json::json!({"kind": "mlp", "width": width}),
    };
    let layers = layers.iter().map(|ranks| {
        let ranks = ranks.each().into_iter();
        ranks
            .map(|(name, rank)| (name.to_owned(), rank.into()))
            .collect()
    });
    let shape = &identity.shape;
    let sidecar = serde_json::json!({
        "version": 1,
        "model": {
            "hash": identity.hash,
            "architecture": shape.architecture,
            "n_layers": shape.n_layers,
            "dim": shape.dim,
            "ffn_dim": shape.ffn_dim,
            "n_heads": shape.n_heads,
            "n_kv_heads": shape.n_kv_heads,
            "head_dim": shape.head_dim,
        },
        "dense_layers": 0,
        "dense_tokens": 2,
        "router": router,
        "cache": "dense",
        "factors": "auto",
        "effort": {
            "default": 0.5,
            "offsets": [
                {"effort": 0.2, "attention": -1.0, "ffn": -1.0},
                {"effort": 0.8, "attention": 1.0, "ffn": 1.0},
            ],
        },
        "layers": layers.collect::<Vec<serde_json::Map<String, serde_json::Value>>>(),
        "calibration": {},
    });
    files.insert("deputy.json".to_owned(), sidecar.to_string().into_bytes());
    files
}

fn identity(n: usize) -> Vec<f32> {
    (0..n * n).map(|i| f32::from(i % (n + 1) == 0)).collect()
}

fn noise(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n).map(|_| scale * (2.0 * next() - 1.0)).collect()
}

pub(crate) fn engine(model: &BTreeMap<String, Vec<u8>>, options: LoadOptions) -> Engine {
    load_file(open_memory(model.clone()).unwrap(), options).unwrap()
}
