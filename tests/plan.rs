//! Plans are data: what must hold of them is read off them.

use std::path::Path;

use deputy::file::ModelFile;
use deputy::graph::{
    Activation, Flat, Graph, HeadNorm, Op, Projection, Rope, RopeId, ValueId, WeightId,
};
use deputy::kernels::linear::Activations;
use deputy::kernels::{CacheType, Call};
use deputy::model::Model;
use deputy::plan::{Buffer, MAX_BINDING, Plan, Settings, Size, WeightLayout, lower, stack};
use deputy::tensor::DType;
use deputy::{WeightFormat, footprint};

fn model(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/models")
        .join(name);
    let file = pollster::block_on(ModelFile::open_path(&path)).unwrap();
    pollster::block_on(Model::open(&file, None)).unwrap()
}

fn settings() -> Settings {
    Settings {
        n_ctx: 64,
        n_sequences: 2,
        cache: CacheType::F16,
        activations: Activations::F32,
        n_splits: 4,
        arenas: vec![],
    }
}

fn size(rows: u32, n_out: u32) -> Size {
    Size {
        rows,
        n_out,
        sample: n_out > 0,
        all_full: false,
    }
}

fn plan(model: &Model, rows: u32, n_out: u32) -> Plan {
    lower(
        &model.graph,
        &WeightFormat::Auto.layouts(model, None),
        &settings(),
        size(rows, n_out),
    )
}

const MODELS: [&str; 5] = [
    "llama-gqa-tied",
    "llama-bias",
    "mistral-window",
    "qwen2",
    "qwen3",
];

#[test]
fn every_call_keeps_the_limits_of_webgpu() {
    for name in MODELS {
        for (rows, n_out) in [(1, 1), (4, 0), (8, 8), (256, 1)] {
            for dispatch in plan(&model(name), rows, n_out).dispatches {
                let numbers: Vec<u32> = dispatch.bindings.iter().map(|b| b.0).collect();
                assert!(
                    numbers.is_sorted_by(|a, b| a < b) && numbers[0] == 1,
                    "{dispatch:?}"
                );
                assert!(numbers.len() <= 8, "{dispatch:?}");
                let (reads, writes) = dispatch
                    .bindings
                    .split_at(numbers.len() - dispatch.call.n_written());
                for (_, written) in writes {
                    assert!(
                        reads.iter().all(|(_, read)| read != written),
                        "reads what it writes: {dispatch:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn all_sizes_share_their_slots() {
    for name in MODELS {
        let model = model(name);
        let slots = plan(&model, 256, 1).slots;
        assert_eq!(plan(&model, 1, 1).slots, slots);
        assert_eq!(plan(&model, 8, 8).slots, slots);
        assert!(slots.len() < 12, "activations are not reused: {slots:?}");
    }
}

#[test]
fn a_step_without_logits_leaves_out_the_head() {
    let model = model("qwen3");
    let with = plan(&model, 8, 1).dispatches;
    let without = plan(&model, 8, 0).dispatches;
    assert!(without.len() < with.len());
    assert_eq!(without[..], with[..without.len()]);
    let uses_logits = |d: &deputy::plan::Dispatch| d.bindings.iter().any(|b| b.1 == Buffer::Logits);
    assert!(!without.iter().any(uses_logits) && with.iter().any(uses_logits));
}

#[test]
fn few_rows_take_the_vector_kernel_and_many_the_matrix_kernel() {
    let model = model("qwen3");
    let kernels = |rows| -> Vec<&'static str> {
        plan(&model, rows, 0)
            .dispatches
            .iter()
            .map(|d| d.call.kernel())
            .collect()
    };
    assert!(kernels(1).contains(&"matvec") && !kernels(1).contains(&"matmul"));
    assert!(kernels(64).contains(&"matmul") && !kernels(64).contains(&"matvec"));
}

#[test]
fn a_decoded_token_takes_six_calls_a_layer_and_four_more() {
    for name in MODELS {
        let model = model(name);
        for format in [WeightFormat::Auto, WeightFormat::F16, WeightFormat::Q8] {
            let layouts = format.layouts(&model, None);
            let plan = lower(&model.graph, &layouts, &settings(), size(1, 1));
            let n_layers = model.config.n_layers as usize;
            for layer in 0..n_layers {
                let label = format!("layers.{layer}.");
                let calls = plan.dispatches.iter();
                let kernels: Vec<&str> = calls
                    .filter(|dispatch| dispatch.label.starts_with(&label))
                    .map(|dispatch| dispatch.call.kernel())
                    .collect();
                let want = [
                    "matvec",
                    "cache_write",
                    "attention",
                    "matvec",
                    "matvec",
                    "matvec",
                ];
                assert_eq!(kernels, want, "{name} {format:?} layer {layer}");
            }
            // Embedding, gathering, head, sampler.
            assert_eq!(plan.dispatches.len(), 6 * n_layers + 4, "{name} {format:?}");
        }
    }
}

#[test]
fn projections_of_different_formats_are_products_of_their_own() {
    let model = model("qwen2");
    let same = WeightFormat::Auto.layouts(&model, None);
    let v = model
        .graph
        .weights()
        .iter()
        .position(|w| w.name.ends_with("layers.0.self_attn.v_proj.weight"));
    let v = v.expect("a layer has values");
    let weight = &model.graph.weights()[v];
    let mut mixed: Vec<WeightLayout> = same
        .iter()
        .map(|layout| WeightLayout::new(layout.dtype, layout.rows, layout.cols, MAX_BINDING))
        .collect();
    mixed[v] = WeightLayout::new(DType::Q8_0, weight.rows, weight.cols, MAX_BINDING);
    stack(&model.graph, &mut mixed);
    let columns = |layouts: &[WeightLayout]| -> Vec<(u32, u32, u32)> {
        let plan = lower(&model.graph, layouts, &settings(), size(1, 1));
        let calls = plan.dispatches.iter();
        calls
            .filter(|dispatch| dispatch.label == "layers.0.attention")
            .filter_map(|dispatch| match dispatch.call {
                Call::MatVec(_, p) => Some((p.y_first, p.outs, p.y_cols)),
                _ => None,
            })
            .collect()
    };
    let c = &model.config;
    let (q, kv) = (c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim);
    let out = (0, c.dim, c.dim);
    assert_eq!(columns(&same), [(0, q + 2 * kv, q + 2 * kv), out]);
    assert_eq!(
        columns(&mixed),
        [(0, q + kv, q + 2 * kv), (q + kv, kv, q + 2 * kv), out]
    );
}

#[test]
fn stacked_weights_lie_side_by_side_in_the_arrays_of_the_first() {
    let model = model("qwen2");
    let layouts = WeightFormat::Q8.layouts(&model, None);
    for (i, layout) in layouts.iter().enumerate() {
        let Some(stacked) = layout.stacked else {
            continue;
        };
        let on = &layouts[stacked.on.0 as usize];
        let room = on.piece_words(0);
        let (own, end) = (on.n_words(), layout.n_words());
        assert!(stacked.before.q_words >= own.q_words && stacked.before.s_words >= own.s_words);
        assert!(stacked.before.q_words + end.q_words <= room.q_words, "{i}");
        assert_eq!(layout.piece_words(0).q_words, 0);
    }
    let total: usize = layouts.iter().map(|l| l.piece_words(0).q_words).sum();
    let own: usize = layouts.iter().map(|l| l.n_words().q_words).sum();
    assert_eq!(total, own, "nothing lies twice");
    let q = model
        .graph
        .weights()
        .iter()
        .position(|w| w.name.ends_with("layers.0.self_attn.k_proj.bias"));
    assert!(layouts[q.expect("keys have a bias")].stacked.is_some());
}

/// A norm and a flattened product: the norm is left to what makes the integers, where they are made.
#[test]
fn a_flattened_input_becomes_integers_once_and_takes_its_norm_along() {
    let mut graph = Graph::default();
    let table = graph.matrix("table", 100, 64);
    let gains = graph.vector("gains", 64);
    let [a, b] = ["a", "b"].map(|name| graph.matrix(name, 96, 64));
    let x = graph.push(Op::Embed { table, scale: 1.0 }).unwrap();
    let norm = Op::RmsNorm {
        x,
        weight: gains,
        eps: 1e-5,
    };
    let x = graph.push(norm).unwrap();
    let flat = graph.flat(Flat {
        copies: [vec![3; 2], vec![1; 62]].concat(),
        scale: None,
    });
    let parts = [a, b].map(|weight| Projection { weight, bias: None });
    let product = Op::Linear {
        x,
        parts: parts.to_vec(),
        branches: None,
        flat: Some(flat),
    };
    graph.push(product).unwrap();
    let plan = |dtypes: [DType; 2], activations, rows| {
        let dtypes = [DType::F32, DType::F32, dtypes[0], dtypes[1]];
        let weights = graph.weights().iter().zip(dtypes);
        let mut layouts: Vec<WeightLayout> = weights
            .map(|(w, dtype)| WeightLayout::new(dtype, w.rows, w.cols, MAX_BINDING))
            .collect();
        stack(&graph, &mut layouts);
        let settings = Settings {
            activations,
            ..settings()
        };
        lower(&graph, &layouts, &settings, size(rows, 0))
    };
    let kernels = |plan: &Plan| -> Vec<&'static str> {
        plan.dispatches.iter().map(|d| d.call.kernel()).collect()
    };
    let same = plan([DType::Q4_0; 2], Activations::Auto, 64);
    assert_eq!(kernels(&same), ["embed", "flatten_rows", "matmul_flat"]);
    let mixed = plan([DType::Q4_0, DType::Q8_0], Activations::Auto, 64);
    let twice = ["embed", "flatten_rows", "matmul_flat", "matmul_flat"];
    assert_eq!(kernels(&mixed), twice);
    let Call::FlattenRows(p) = mixed.dispatches[1].call else {
        panic!("no integers")
    };
    assert_eq!(
        (p.has_norm, p.blocks, p.extra_blocks, p.scale),
        (1, 2, 1, 0.0)
    );
    assert_eq!(p.eps, 1e-5);
    let few = plan([DType::Q4_0; 2], Activations::Auto, 4);
    assert_eq!(kernels(&few), ["embed", "matvec"]);
    let values = plan([DType::Q4_0; 2], Activations::F32, 64);
    assert_eq!(kernels(&values), ["embed", "rms_norm", "matmul"]);
    let blocks = plan([DType::Q4_0; 2], Activations::Int8, 64);
    let expected = ["embed", "rms_norm", "quantize_rows", "matmul_int8"];
    assert_eq!(kernels(&blocks), expected);
    // A weight that is f32 on the device takes the values, so the norm stays.
    let half = plan([DType::Q4_0, DType::F32], Activations::Auto, 64);
    assert_eq!(kernels(&half), ["embed", "rms_norm", "matmul", "matmul"]);
}

#[test]
fn integers_are_multiplied_where_rows_are_many_and_formats_allow() {
    let model = model("qwen2");
    let settings = Settings {
        activations: Activations::Int8,
        ..settings()
    };
    let kernels = |format: WeightFormat, rows| -> Vec<&'static str> {
        let plan = lower(
            &model.graph,
            &format.layouts(&model, None),
            &settings,
            size(rows, 0),
        );
        let calls = plan.dispatches.iter();
        calls
            .filter(|d| d.label.starts_with("layers.0.ffn"))
            .map(|d| d.call.kernel())
            .collect()
    };
    let quantised = [
        "quantize_rows",
        "matmul_int8",
        "quantize_rows",
        "matmul_int8",
    ];
    assert_eq!(kernels(WeightFormat::Q4, 64), quantised);
    assert_eq!(kernels(WeightFormat::Q8, 5), quantised);
    assert_eq!(kernels(WeightFormat::Q8, 1), ["matvec"; 2]);
    assert_eq!(kernels(WeightFormat::F16, 64), ["matmul"; 2]);
}

#[test]
fn a_weight_too_large_to_bind_is_split_by_rows() {
    // The embedding of a Llama 3 8B in bf16: a gigabyte.
    let layout = WeightLayout::new(DType::BF16, 128_256, 4096, MAX_BINDING);
    assert!(layout.chunks.len() >= 8);
    let mut next = 0;
    for rows in &layout.chunks {
        assert_eq!(rows.start, next);
        assert!(u64::from(rows.end - rows.start) * 4096 * 2 <= MAX_BINDING);
        next = rows.end;
    }
    assert_eq!(next, 128_256);
    assert_eq!(
        WeightLayout::new(DType::Q4_0, 49_152, 576, MAX_BINDING)
            .chunks
            .len(),
        1
    );
}

#[test]
fn rows_are_found_in_the_pieces_that_hold_them() {
    let layout = WeightLayout::new(DType::F32, 1000, 64, 300 * 256);
    let pieces = |rows| layout.pieces(rows).collect::<Vec<_>>();
    assert_eq!(pieces(10..20), [(0, 10..20, 10)]);
    assert_eq!(
        pieces(240..510),
        [(0, 240..250, 240), (1, 250..500, 0), (2, 500..510, 0)]
    );
    assert_eq!(pieces(990..1000), [(3, 990..1000, 240)]);
    assert_eq!(pieces(250..250), []);
}

#[test]
fn split_weights_make_one_call_a_piece_that_cover_all_outputs() {
    let mut graph = Graph::default();
    let table = graph.matrix("model.embed_tokens.weight", 1000, 64);
    let x = graph.push(Op::Embed { table, scale: 1.0 }).unwrap();
    let x = graph.push(Op::OutRows { x }).unwrap();
    graph.push(linear(x, table, None)).unwrap();
    let layouts = [WeightLayout::new(DType::F32, 1000, 64, 300 * 256)];
    assert_eq!(layouts[0].chunks.len(), 4);
    let plan = lower(&graph, &layouts, &settings(), size(1, 1));
    let embeds: Vec<(u32, u32)> = plan
        .dispatches
        .iter()
        .filter_map(|d| match d.call {
            Call::Embed(_, p) => Some((p.first_token, p.n_tokens)),
            _ => None,
        })
        .collect();
    let outputs: Vec<(u32, u32)> = plan
        .dispatches
        .iter()
        .filter_map(|d| match d.call {
            Call::MatVec(_, p) => Some((p.y_first, p.outs)),
            _ => None,
        })
        .collect();
    assert_eq!(embeds, [(0, 250), (250, 250), (500, 250), (750, 250)]);
    assert_eq!(outputs, embeds);
}

fn linear(x: ValueId, weight: WeightId, bias: Option<WeightId>) -> Op {
    let parts = vec![Projection { weight, bias }];
    Op::Linear {
        x,
        parts,
        branches: None,
        flat: None,
    }
}

fn cache_write(
    qkv: ValueId,
    n_heads: u32,
    head_dim: u32,
    gains: Option<WeightId>,
    rope: Option<RopeId>,
) -> Op {
    Op::CacheWrite {
        layer: 0,
        qkv,
        n_heads,
        head_dim,
        norm: gains.map(|gains| HeadNorm {
            q: gains,
            k: gains,
            eps: 1e-5,
        }),
        rope,
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_rule() {
    let mut graph = Graph::default();
    let table = graph.matrix("table", 10, 8);
    let odd = graph.matrix("odd", 8, 6);
    let gains = graph.vector("gains", 12);
    let rope = graph.rope_table(Rope {
        inv_freq: vec![1.0; 16],
        interleaved: false,
    });
    graph.enter("here");
    let x = graph.push(Op::Embed { table, scale: 1.0 }).unwrap();
    let qkv = graph.matrix("qkv", 24, 8);
    let wide = graph.push(linear(x, qkv, None)).unwrap();
    let odd_pair = graph.push(linear(x, table, None)).unwrap();
    for op in [
        linear(x, odd, None),
        linear(x, table, Some(gains)),
        Op::RmsNorm {
            x,
            weight: gains,
            eps: 1e-5,
        },
        // Eight columns are a head of four with no keys, or too few for the rotation.
        cache_write(x, 2, 4, None, None),
        cache_write(x, 1, 3, None, None),
        cache_write(wide, 1, 8, None, Some(rope)),
        cache_write(wide, 1, 8, Some(gains), None),
        Op::GatedAct {
            x: odd_pair,
            activation: Activation::Silu,
        },
        Op::Attention {
            layer: 0,
            q: x,
            head_dim: 8,
            window: None,
            scale: 1.0,
            softcap: None,
        },
    ] {
        let error = graph.push(op.clone()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("here: {}", op.name())),
            "{error}"
        );
        assert_ne!(error.expected, error.found, "{error}");
    }
}

#[test]
fn a_plan_prints_every_call_with_its_buffers() {
    let plan = plan(&model("qwen3"), 1, 1);
    let text = plan.to_string();
    assert!(text.lines().count() >= plan.dispatches.len());
    for word in [
        "layers.0.attention",
        "MatVec(Form { dtype: F32",
        "rows: 1",
        "Slot(",
        "Keys(0)",
        "Logits",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn the_footprint_counts_what_is_allocated() {
    let model = model("qwen3");
    let layouts = WeightFormat::Auto.layouts(&model, None);
    let needed = footprint(&model, &layouts, &Default::default());
    let c = &model.config;
    let n_ctx = u64::from(c.n_ctx.min(4096));
    let kv = u64::from(c.n_kv_heads * c.head_dim);
    assert_eq!(needed.cache, 2 * u64::from(c.n_layers) * n_ctx * kv * 2);
    let stored: u64 = model.weights.iter().map(|w| w.tensor.n_bytes()).sum();
    // Rows are filled up to blocks of 32 elements.
    assert!(needed.weights >= stored && needed.weights < 2 * stored);
    let q4 = footprint(
        &model,
        &WeightFormat::Q4.layouts(&model, None),
        &Default::default(),
    );
    assert!(q4.weights < needed.weights / 2);
}
