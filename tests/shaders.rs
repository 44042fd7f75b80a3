//! Every shader on its own: valid, translatable, laid out as the host thinks, and with the bindings in their order.

use deputy::kernels::{self, Shader, every_shader};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};

#[test]
fn every_shader_is_valid_and_named_after_its_file() {
    for shader in every_shader() {
        let (module, _) = parse(&shader, &shader.source());
        let names: Vec<&str> = module
            .entry_points
            .iter()
            .map(|e| e.name.as_str())
            .collect();
        assert_eq!(names, [shader.kernel], "entry points of {}", shader.label);
        let last = *shader.parts.last().expect("a shader has parts");
        assert_eq!(last, format!("{}.wgsl", shader.kernel), "{}", shader.label);
        assert!(
            shader.label.starts_with(shader.kernel),
            "{} is no label of {}",
            shader.label,
            shader.kernel
        );
    }
}

#[test]
fn labels_tell_shaders_apart() {
    let mut labels = BTreeSet::new();
    for shader in every_shader() {
        assert!(labels.insert(shader.label.clone()), "two {}", shader.label);
    }
}

#[test]
fn constants_are_the_overrides_of_the_text() {
    for shader in every_shader() {
        let (module, _) = parse(&shader, &shader.source());
        let overrides: BTreeSet<&str> = module
            .overrides
            .iter()
            // One without a name is computed of others: the length of an array.
            .filter_map(|(_, o)| o.name.as_deref())
            .collect();
        let constants: BTreeSet<&str> = shader.constants.iter().map(|(name, _)| *name).collect();
        assert_eq!(overrides, constants, "{}", shader.label);
    }
}

/// Vulkan compiles a module without an override as soon as it is made, with checks and zeroed
/// workgroup memory whatever is asked for.
#[test]
fn every_shader_has_an_override() {
    for shader in every_shader() {
        let (module, _) = parse(&shader, &shader.source());
        let names = module
            .overrides
            .iter()
            .filter_map(|(_, o)| o.name.as_deref());
        assert!(
            names.into_iter().any(|name| name == "WG"),
            "{}",
            shader.label
        );
    }
}

/// `override OUTS` counts into an array of `MAX_OUTS`: nothing checks such an index.
#[test]
fn constants_stay_within_their_arrays() {
    let mut n_checked = 0;
    for shader in every_shader() {
        for &(name, value) in &shader.constants {
            let declaration = format!("const MAX_{name}: u32 = ");
            if let Some((_, rest)) = shader.source().split_once(&declaration) {
                let most = rest.split('u').next().expect("split gives one");
                let most: u32 = most.parse().expect("a number");
                assert!(value <= most, "{}: {name} {value} of {most}", shader.label);
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 0);
}

#[test]
fn every_shader_translates_to_spirv_msl_and_hlsl() {
    for shader in every_shader() {
        translate(&shader).unwrap_or_else(|e| panic!("{}: {e}", shader.label));
    }
}

#[test]
fn every_shader_file_belongs_to_a_shader_and_enables_nothing() {
    let used: BTreeSet<&str> = every_shader()
        .iter()
        .flat_map(|s| s.parts.clone())
        .collect();
    let root = root();
    let mut files = BTreeSet::new();
    for dir in ["", "lib"] {
        for entry in std::fs::read_dir(root.join(dir)).expect("shaders are here") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                assert!(path.ends_with("lib"), "{} is not looked at", path.display());
                continue;
            }
            let name = path.strip_prefix(&root).expect("under the root");
            let name = name.to_str().expect("a plain name").replace('\\', "/");
            assert!(name.ends_with(".wgsl"), "{name} is no shader");
            assert!(used.contains(name.as_str()), "{name} is in no shader");
            let text = std::fs::read_to_string(&path).expect("a text");
            // `enable` must precede all declarations, so a joined part cannot hold it.
            let enables = text
                .lines()
                .any(|line| line.trim_start().starts_with("enable"));
            assert!(!enables, "{name} has an enable directive");
            files.insert(name);
        }
    }
    assert_eq!(files.len(), used.len(), "files and parts");
}

#[test]
fn bindings_are_params_then_inputs_then_outputs() {
    for shader in every_shader() {
        check_bindings(&parse(&shader, &shader.source()).0)
            .unwrap_or_else(|e| panic!("{}: {e}", shader.label));
        for part in &shader.parts {
            let text = std::fs::read_to_string(root().join(part)).expect("a part is a file");
            let numbers: Vec<u32> = text
                .split("@binding(")
                .skip(1)
                .map(|rest| {
                    let number = rest.split(')').next().expect("split gives one");
                    number.parse().expect("a number")
                })
                .collect();
            assert!(numbers.is_sorted(), "{part} declares {numbers:?}");
        }
    }
}

#[test]
fn bindings_out_of_order_are_caught() {
    let shader = shader_of("add");
    for (from, to, complaint) in [
        (
            "var<uniform> params",
            "var<storage, read> params",
            "binding 0",
        ),
        ("@binding(1)", "@binding(4)", "after"),
        ("@group(0) @binding(2)", "@group(1) @binding(2)", "group 1"),
        ("@binding(2)", "@binding(1)", "twice"),
    ] {
        let source = shader.source().replace(from, to);
        assert_ne!(source, shader.source(), "{from}");
        let module = naga::front::wgsl::parse_str(&source).expect("still parses");
        let error = check_bindings(&module).expect_err(to);
        assert!(error.contains(complaint), "{to}: {error}");
    }
}

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
                pad0
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
                pad0
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
                pad0
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
                ["n_rows", "outs", "blocks", "is_low", "first", "is_listed"]
                    .iter()
                    .zip((0..).step_by(4))
                    .map(|(name, at)| ((*name).to_owned(), at))
                    .collect(),
                24,
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
            "matvec" | "matvec_lane" | "matmul" | "matmul_flat" | "matmul_flat_lane"
            | "matmul_int8" | "matmul_lane" | "matmul_narrow",
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

/// Binding 0 is the uniform `params`; the others are storage buffers, at most 8 (the default limit of WebGPU),
/// those that are written after those that are only read.
fn check_bindings(module: &Module) -> Result<(), String> {
    let mut bindings = BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        let name = variable.name.clone().unwrap_or_default();
        if let Some(binding) = &variable.binding {
            if binding.group != 0 {
                return Err(format!("{name} is in group {}", binding.group));
            }
            if bindings
                .insert(binding.binding, (name, variable.space))
                .is_some()
            {
                return Err(format!("binding {} is declared twice", binding.binding));
            }
        }
    }
    let mut bindings = bindings.into_iter();
    match bindings.next() {
        Some((0, (name, AddressSpace::Uniform))) if name == "params" => {}
        other => return Err(format!("binding 0 is not the uniform params but {other:?}")),
    }
    let mut writes = vec![];
    let mut n_storage = 0;
    for (number, (name, space)) in bindings {
        let AddressSpace::Storage { access } = space else {
            return Err(format!("binding {number}, {name}, is in {space:?}"));
        };
        n_storage += 1;
        if access.contains(StorageAccess::STORE) {
            writes.push(name);
        } else if let Some(written) = writes.last() {
            return Err(format!("input {name} comes after output {written}"));
        }
    }
    if writes.is_empty() || n_storage > 8 {
        return Err(format!("{n_storage} storage buffers, written: {writes:?}"));
    }
    Ok(())
}

/// The shader as each backend gets it.
fn translate(shader: &Shader) -> Result<(), String> {
    let (module, info) = parse(shader, &shader.source());
    let entry = (ShaderStage::Compute, shader.kernel);
    let constants: naga::back::PipelineConstants = shader
        .constants
        .iter()
        .map(|(name, value)| ((*name).to_owned(), f64::from(*value)))
        .collect();
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(&module, &info, Some(entry), &constants)
            .map_err(|e| format!("constants: {e:?}"))?;

    let spv_entry = naga::back::spv::PipelineOptions {
        shader_stage: entry.0,
        entry_point: entry.1.to_owned(),
    };
    // 1.3 brings the subgroup operations.
    let spv = naga::back::spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    let words = naga::back::spv::write_vec(&module, &info, &spv, Some(&spv_entry))
        .map_err(|e| format!("SPIR-V: {e}"))?;
    assert_eq!(words[0], 0x0723_0203, "SPIR-V begins with its magic number");

    let msl = naga::back::msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        ..Default::default()
    };
    let msl_entry = naga::back::msl::PipelineOptions {
        entry_point: Some((entry.0, entry.1.to_owned())),
        ..Default::default()
    };
    let (text, _) = naga::back::msl::write_string(&module, &info, &msl, &msl_entry)
        .map_err(|e| format!("MSL: {e}"))?;
    assert!(text.contains("kernel void"), "MSL has a kernel");

    let hlsl = naga::back::hlsl::Options {
        shader_model: naga::back::hlsl::ShaderModel::V6_0,
        ..Default::default()
    };
    let hlsl_entry = naga::back::hlsl::PipelineOptions {
        entry_point: Some((entry.0, entry.1.to_owned())),
    };
    let mut text = String::new();
    naga::back::hlsl::Writer::new(&mut text, &hlsl, &hlsl_entry)
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    assert!(text.contains("numthreads"), "HLSL has a workgroup size");
    Ok(())
}

/// Parses and validates. Nothing beyond core WGSL is allowed, but subgroups where the shader says so.
fn parse(shader: &Shader, source: &str) -> (Module, ModuleInfo) {
    let fail = |e: String| -> ! { panic!("{}:\n{e}", shader.label) };
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| fail(e.emit_to_string(source)));
    // pack2x16float and unpack2x16float are core WGSL, which OpenGL alone lacks.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, shader.has_subgroups());
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|e| fail(e.emit_to_string(source)));
    (module, info)
}

/// A shader of the kernel, the first variant.
fn shader_of(kernel: &str) -> Shader {
    let mut all = every_shader().into_iter();
    all.find(|s| s.kernel == kernel).expect("a kernel")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}
