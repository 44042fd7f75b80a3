use std::collections::BTreeMap;

use deputy::graph::WeightId;
use deputy::{Engine, SessionOptions, TapKind};

use super::common::compare;
use super::{devices, fixture, load};

const IDS: [u32; 13] = [316, 5, 17, 200, 44, 3, 99, 120, 7, 310, 61, 8, 255];

/// Rounding of f32 through a layer.
const MAX_NMSE: f64 = 1e-10;

/// Every value that is tapped, by layer and kind, all rows of the prompt.
type Taps = BTreeMap<(u32, TapKind), Vec<f32>>;

fn taps(engine: &Engine, max_rows: u32) -> Taps {
    let options = SessionOptions {
        max_rows,
        ..Default::default()
    };
    let mut session = pollster::block_on(engine.session(options)).unwrap();
    let mut taps = Taps::new();
    let n_layers = engine.config().n_layers;
    let mut on_tap = |tap: deputy::Tap<'_>| {
        let all = taps.entry((tap.layer, tap.kind)).or_default();
        assert_eq!(all.len(), tap.first * tap.cols, "pieces come in order");
        all.extend_from_slice(tap.values);
    };
    pollster::block_on(session.trace(&IDS, 0..n_layers, &mut on_tap)).unwrap();
    assert!(session.tokens(0).is_empty());
    taps
}

fn weight(engine: &Engine, name: &str) -> Vec<f64> {
    let weights = engine.model().graph.weights();
    let at = weights.iter().position(|w| w.name == name).unwrap();
    let values = pollster::block_on(engine.weight(WeightId(at as u32))).unwrap();
    values.into_iter().map(f64::from).collect()
}

/// `x wᵀ`.
fn linear(x: &[f64], w: &[f64], cols: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    let rows = x.chunks_exact(cols);
    rows.flat_map(|x| w.chunks_exact(cols).map(move |w| dot(x, w)))
        .collect()
}

fn norm(x: &[f64], gains: &[f64], eps: f64) -> Vec<f64> {
    let rows = x.chunks_exact(gains.len());
    rows.flat_map(|x| {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + eps).sqrt();
        x.iter().zip(gains).map(move |(v, g)| v * scale * g)
    })
    .collect()
}

/// Rotates each head in halves, row `t` by the position `t`.
fn rope(x: &mut [f64], cols: usize, head_dim: usize, theta: f64) {
    for (t, row) in x.chunks_exact_mut(cols).enumerate() {
        for head in row.chunks_exact_mut(head_dim) {
            for i in 0..head_dim / 2 {
                let angle = t as f64 / theta.powf(2.0 * i as f64 / head_dim as f64);
                let (sin, cos) = angle.sin_cos();
                let (a, b) = (head[i], head[i + head_dim / 2]);
                head[i] = a * cos - b * sin;
                head[i + head_dim / 2] = b * cos + a * sin;
            }
        }
    }
}

fn attention(q: &[f64], k: &[f64], v: &[f64], n_heads: usize, kv: usize, hd: usize) -> Vec<f64> {
    let mut y = vec![0.0; q.len()];
    for t in 0..q.len() / (n_heads * hd) {
        for h in 0..n_heads {
            let at = (t * n_heads + h) * hd;
            let of = |s: usize| (s * kv + h * kv / n_heads) * hd;
            let score = |s: usize| -> f64 {
                let dot: f64 = (0..hd).map(|i| q[at + i] * k[of(s) + i]).sum();
                (dot / (hd as f64).sqrt()).exp()
            };
            let sum: f64 = (0..=t).map(score).sum();
            for s in 0..=t {
                for i in 0..hd {
                    y[at + i] += score(s) / sum * v[of(s) + i];
                }
            }
        }
    }
    y
}

/// The whole first layer in f64, and the second one's entry.
fn expected(engine: &Engine) -> Taps {
    let config = engine.config();
    let (dim, hd) = (config.dim as usize, config.head_dim as usize);
    let (n_heads, kv) = (config.n_heads as usize, config.n_kv_heads as usize);
    let (eps, theta) = (f64::from(config.norm_eps), config.rope_theta);
    let layer = |name: &str| weight(engine, &format!("model.layers.0.{name}.weight"));
    let table = weight(engine, "model.embed_tokens.weight");
    let row = |&id: &u32| table[id as usize * dim..][..dim].to_vec();
    let entry: Vec<f64> = IDS.iter().flat_map(row).collect();
    let x = norm(&entry, &layer("input_layernorm"), eps);
    let mut q = linear(&x, &layer("self_attn.q_proj"), dim);
    let mut k = linear(&x, &layer("self_attn.k_proj"), dim);
    let v = linear(&x, &layer("self_attn.v_proj"), dim);
    rope(&mut q, n_heads * hd, hd, theta);
    rope(&mut k, kv * hd, hd, theta);
    let a = attention(&q, &k, &v, n_heads, kv, hd);
    let o = linear(&a, &layer("self_attn.o_proj"), n_heads * hd);
    let middle: Vec<f64> = entry.iter().zip(&o).map(|(a, b)| a + b).collect();
    let h = norm(&middle, &layer("post_attention_layernorm"), eps);
    let gate = linear(&h, &layer("mlp.gate_proj"), dim);
    let up = linear(&h, &layer("mlp.up_proj"), dim);
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let inner: Vec<f64> = gate.iter().zip(&up).map(|(&g, u)| silu(g) * u).collect();
    let down = linear(&inner, &layer("mlp.down_proj"), config.ffn_dim as usize);
    let next: Vec<f64> = middle.iter().zip(&down).map(|(a, b)| a + b).collect();
    let taps = [
        (0, TapKind::Entry, entry),
        (0, TapKind::Attention, x),
        (0, TapKind::Output, a),
        (0, TapKind::Middle, middle),
        (0, TapKind::Ffn, h),
        (0, TapKind::Down, inner),
        (1, TapKind::Entry, next),
    ];
    taps.into_iter()
        .map(|(layer, kind, x)| ((layer, kind), x.iter().map(|&x| x as f32).collect()))
        .collect()
}

#[test]
fn a_trace_reads_what_each_linear_reads() {
    for device in devices() {
        let engine = load(&fixture(), device);
        let expected = expected(&engine);
        for max_rows in [8, 256] {
            let taps = taps(&engine, max_rows);
            assert_eq!(taps.len(), 2 * 6);
            for (key, want) in &expected {
                compare(&taps[key], want, MAX_NMSE)
                    .unwrap_or_else(|e| panic!("{key:?}, {max_rows} rows: {e}"));
            }
        }
    }
}

/// Whatever the format of the weights, biases and norms of heads: the values keep their shapes.
#[test]
fn every_architecture_can_be_traced() {
    for name in [
        "llama-bias",
        "mistral-window",
        "qwen2",
        "qwen3",
        "gguf-q4_k_m",
    ] {
        let path = super::root().join("tests/data/models").join(name);
        let file = path.join("model.gguf");
        let path = if name.starts_with("gguf") { file } else { path };
        let engine = load(&path, deputy::DeviceChoice::Cpu);
        let config = engine.config().clone();
        let ids: Vec<u32> = (0..9).collect();
        let mut session = pollster::block_on(engine.session(SessionOptions::default())).unwrap();
        let mut kinds = vec![];
        let mut on_tap = |tap: deputy::Tap<'_>| {
            let cols = match tap.kind {
                TapKind::Output => config.n_heads * config.head_dim,
                TapKind::Down => config.ffn_dim,
                _ => config.dim,
            };
            assert_eq!(tap.cols, cols as usize, "{name} {:?}", tap.kind);
            assert_eq!(tap.values.len(), ids.len() * tap.cols);
            kinds.push((tap.layer, tap.kind));
        };
        pollster::block_on(session.trace(&ids, 0..1, &mut on_tap)).unwrap();
        let all = [
            TapKind::Entry,
            TapKind::Attention,
            TapKind::Output,
            TapKind::Middle,
            TapKind::Ffn,
            TapKind::Down,
        ];
        assert_eq!(kinds, all.map(|kind| (0, kind)), "{name}");
    }
}
