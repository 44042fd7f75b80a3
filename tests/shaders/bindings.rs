//! Bindings lie in the order that the host counts on.

use std::collections::BTreeMap;

use deputy::kernels::every_shader;
use naga::{AddressSpace, Module, StorageAccess};

use super::{parse, root, shader_of};

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
