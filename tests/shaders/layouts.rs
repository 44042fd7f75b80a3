//! Structs have the same fields on the host and in the shaders.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{offset_of, size_of};

use deputy::kernels::{self, Shader, every_shader};
use naga::Module;

use super::{parse, shader_of};

#[test]
fn host_structs_match_the_shaders() {
    let host = host_structs();
    let mut seen = BTreeSet::new();
    for shader in every_shader() {
        let (module, _) = parse(&shader, &shader.source());
        for (name, layout) in layouts(&module) {
            let key = host_key(&shader, &name);
            let expected = host.get(key.as_str()).unwrap_or_else(|| {
                panic!("{} has a struct {name} without a host side", shader.label)
            });
            assert_eq!(&layout, expected, "{name} of {}", shader.label);
            seen.insert(key);
        }
    }
    assert_eq!(seen.len(), host.len(), "every host struct was compared");
}

#[test]
fn a_swapped_field_is_caught() {
    for (kernel, name, from, to) in [
        (
            "rms_norm",
            "Params",
            "rows: u32,\n    cols: u32",
            "cols: u32,\n    rows: u32",
        ),
        (
            "sample",
            "Sampler",
            "top_p: f32,\n    min_p: f32",
            "min_p: f32,\n    top_p: f32",
        ),
        (
            "cache_write",
            "Row",
            "sequence: u32,\n    position: u32",
            "position: u32,\n    sequence: u32",
        ),
        ("attention", "Params", "window: u32,\n", ""),
    ] {
        let shader = shader_of(kernel);
        let source = shader.source().replace(from, to);
        assert_ne!(source, shader.source(), "{from}");
        // The text may be invalid now; its layout is still what the test compares.
        let module = naga::front::wgsl::parse_str(&source.replace("params.window", "1u"))
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
        let swapped = &layouts(&module)[name];
        assert_ne!(
            swapped,
            &host_structs()[host_key(&shader, name).as_str()],
            "{kernel}"
        );
    }
}

/// (name, offset) of each field, then the size.
type Layout = (Vec<(String, usize)>, usize);

macro_rules! layout {
    ($type:ty { $($field:ident),* }) => {
        (
            vec![$((stringify!($field).to_owned(), offset_of!($type, $field))),*],
            size_of::<$type>(),
        )
    };
}

/// Host structs by kernel file and WGSL name; `Row` is one for all.
fn host_structs() -> BTreeMap<&'static str, Layout> {
    use kernels::*;
    [
        (
            "add.Params",
            layout!(add::Params {
                quads,
                pad0,
                pad1,
                pad2
            }),
        ),
        (
            "attention.Params",
            layout!(attention::Params {
                rows,
                n_heads,
                n_kv_heads,
                head_dim,
                n_ctx,
                window,
                scale,
                softcap,
                n_splits,
                n_apart,
                n_positions,
                k_first,
                latent_cols,
                v_first,
                v_cols,
                zero
            }),
        ),
        (
            "attention_merge.Params",
            layout!(attention_merge::Params {
                rows,
                cols,
                head_dim,
                n_splits,
                n_apart,
                pad0,
                pad1,
                pad2
            }),
        ),
        (
            "cache_write.Params",
            layout!(cache_write::Params {
                rows,
                n_heads,
                n_kv_heads,
                head_dim,
                n_ctx,
                rotary_dim,
                interleaved,
                has_norm,
                eps,
                n_positions,
                n_latent_ctx,
                k_first
            }),
        ),
        (
            "cache_copy.Params",
            layout!(cache_copy::Params {
                rows,
                qkv_cols,
                kv_dim,
                n_ctx,
                n_latent_ctx,
                n_positions,
                latents_cols,
                k_first,
                k_cols,
                v_first,
                v_cols,
                head_dim
            }),
        ),
        (
            "embed.Params",
            layout!(embed::Params {
                rows,
                cols,
                blocks,
                n_ctx,
                first_token,
                n_tokens,
                scale,
                pad0
            }),
        ),
        (
            "gated_act.Params",
            layout!(gated_act::Params {
                rows,
                quads,
                gelu,
                pad0
            }),
        ),
        (
            "gather_rows.Params",
            layout!(gather_rows::Params {
                n_out,
                cols,
                pad0,
                pad1
            }),
        ),
        (
            "latent_keys.Params",
            layout!(latent_keys::Params {
                rows,
                n_sequences,
                n_kv_heads,
                head_dim,
                n_ctx,
                n_positions,
                latent_cols,
                k_cols,
                blocks,
                w_first,
                rotary_dim,
                interleaved,
                has_norm,
                has_bias,
                bias_first,
                eps
            }),
        ),
        (
            "latent_values.Params",
            layout!(latent_values::Params {
                rows,
                n_heads,
                n_kv_heads,
                head_dim,
                v_cols,
                blocks,
                w_first,
                n_splits,
                n_records,
                has_bias,
                bias_first,
                pad0
            }),
        ),
        (
            "linear.Params",
            layout!(linear::Params {
                rows,
                cols,
                blocks,
                outs,
                y_first,
                y_cols,
                has_bias,
                bias_first,
                half,
                gelu,
                eps,
                head_dim,
                n_splits,
                n_apart,
                x_first,
                x_cols,
                is_ffn,
                branches,
                zeros,
                low_first,
                low_outs,
                low_cols,
                extra_blocks,
                first_outs,
                next_outs,
                zero,
                pad0,
                pad1
            }),
        ),
        (
            "route.Params",
            layout!(route::Params {
                rows,
                cols,
                n_ctx,
                layer,
                dense_tokens,
                silu,
                has_low_attention,
                has_low_ffn,
                all_dense,
                places,
                eps,
                pad0
            }),
        ),
        (
            "linear.Arm",
            (
                [
                    "n_rows",
                    "outs",
                    "blocks",
                    "is_low",
                    "first",
                    "is_listed",
                    "part",
                ]
                .iter()
                .zip((0..).step_by(4))
                .map(|(name, at)| ((*name).to_owned(), at))
                .collect(),
                28,
            ),
        ),
        (
            "quantize_rows.Params",
            layout!(quantize_rows::Params {
                rows,
                cols,
                blocks,
                pad0
            }),
        ),
        (
            "flatten_rows.Params",
            layout!(flatten_rows::Params {
                rows,
                cols,
                blocks,
                extra_blocks,
                scale,
                inverse,
                has_norm,
                eps
            }),
        ),
        (
            "rms_norm.Params",
            layout!(rms_norm::Params {
                rows,
                cols,
                eps,
                pad0
            }),
        ),
        (
            "sample.Params",
            layout!(sample::Params {
                n_out,
                vocab_size,
                n_ctx,
                write_next
            }),
        ),
        (
            "sample.Sampler",
            layout!(sample::Sampler {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty,
                seed_low,
                seed_high,
                pad0
            }),
        ),
        ("Row", layout!(Row { sequence, position })),
    ]
    .into()
}

/// The key in [`host_structs`] of a shader's struct.
fn host_key(shader: &Shader, name: &str) -> String {
    match (shader.kernel, name) {
        (_, "Row") => name.to_owned(),
        (
            "matvec" | "matvec_lane" | "matmul" | "matmul_flat" | "matmul_int8" | "matmul_lane"
            | "matmul_narrow",
            _,
        ) => {
            format!("linear.{name}")
        }
        ("place_rows", _) => format!("route.{name}"),
        ("attention_lane" | "attention_latent" | "attention_tile", _) => {
            format!("attention.{name}")
        }
        (kernel, _) => format!("{kernel}.{name}"),
    }
}

/// Layouts of the structs that a text declares.
fn layouts(module: &Module) -> BTreeMap<String, Layout> {
    let mut layouts = BTreeMap::new();
    for (_, ty) in module.types.iter() {
        if let (Some(name), naga::TypeInner::Struct { members, span }) = (&ty.name, &ty.inner) {
            let fields = members.iter().map(|m| {
                let name = m.name.clone().expect("a member has a name");
                (name, m.offset as usize)
            });
            layouts.insert(name.clone(), (fields.collect(), *span as usize));
        }
    }
    layouts
}
