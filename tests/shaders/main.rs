//! Every shader on its own: valid, translatable, laid out as the host thinks, and with the bindings in their order.

mod bindings;
mod layouts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use deputy::kernels::{Shader, every_shader};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Expression, Literal, Module, ShaderStage};

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

/// `override OUTS` counts into an array of `MAX_OUTS`: nothing checks such an index. Kernels for software adapters fill
/// it: a loop shorter than the array that it indexes is not unrolled by Mesa, and takes a quarter longer.
#[test]
fn constants_stay_within_their_arrays() {
    let mut n_checked = 0;
    for shader in every_shader() {
        let (module, _) = parse(&shader, &shader.source());
        for &(name, value) in &shader.constants {
            if let Some(most) = constant(&module, &format!("MAX_{name}")) {
                assert!(value <= most, "{}: {name} {value} of {most}", shader.label);
                if shader.kernel.ends_with("_lane") && name == "OUTS" {
                    assert_eq!(value, most, "{}", shader.label);
                }
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 0);
}

/// The value of a module's constant.
fn constant(module: &Module, name: &str) -> Option<u32> {
    let mut constants = module.constants.iter().map(|(_, constant)| constant);
    let found = constants.find(|constant| constant.name.as_deref() == Some(name))?;
    match module.global_expressions[found.init] {
        Expression::Literal(Literal::U32(value)) => Some(value),
        ref other => panic!("{name} is {other:?}"),
    }
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
    capabilities.set(Capabilities::SHADER_INT64, shader.has_int64());
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
