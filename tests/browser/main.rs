//! Every shader in a real browser: its compiler refuses what naga lets by, such as barriers in control flow that is
//! not uniform.
//!
//! Without Chromium, or with one that has no WebGPU, the tests say so and pass; in CI they fail.

mod chromium;

use chromium::{Source, report};
use deputy::kernels::every_shader;

#[test]
fn the_browser_compiles_every_shader() {
    let shaders = every_shader()
        .into_iter()
        .filter(|shader| !shader.has_int64());
    let sources: Vec<Source> = shaders.map(|shader| Source::from(&shader)).collect();
    let Some(report) = report("every-shader", &sources) else {
        return;
    };
    assert_eq!(
        report.results.len(),
        sources.len(),
        "every shader is reported"
    );
    let mut n_skipped = 0;
    for (result, source) in report.results.iter().zip(&sources) {
        assert_eq!(result.label, source.label);
        assert!(
            result.messages.is_empty(),
            "{}:\n{}",
            result.label,
            result.messages.join("\n")
        );
        n_skipped += usize::from(result.skipped);
        assert!(
            source.subgroups || !result.skipped,
            "{} was skipped",
            result.label
        );
    }
    if n_skipped > 0 {
        eprintln!(
            "skipped: {n_skipped} shaders need subgroups, which this browser's adapter lacks"
        );
    }
}

#[test]
fn the_browser_refuses_wrong_shaders() {
    let kernel = |label: &str, body: &str| Source {
        label: label.to_owned(),
        kernel: "wrong",
        source: format!(
            "override WG: u32 = 64u;
            @group(0) @binding(0) var<storage, read_write> y: array<u32>;
            var<workgroup> shared_word: u32;
            @compute @workgroup_size(WG)
            fn wrong(@builtin(local_invocation_index) lid: u32) {{ {body} }}"
        ),
        constants: [("WG", 64)].into(),
        subgroups: false,
    };
    let right = kernel(
        "right",
        "shared_word = lid; workgroupBarrier(); y[lid] = shared_word;",
    );
    let sources = [
        kernel(
            "barrier",
            "if y[lid] > 0u { return; } workgroupBarrier(); y[lid] = shared_word;",
        ),
        kernel("type", "let x: f32 = lid; y[lid] = u32(x);"),
        kernel("extension", "y[lid] = subgroupAdd(lid);"),
        Source {
            label: "size".to_owned(),
            constants: [("WG", 100_000)].into(),
            ..right.clone()
        },
        Source {
            label: "constant".to_owned(),
            constants: [("LANES", 4)].into(),
            ..right.clone()
        },
        right,
    ];
    let Some(report) = report("wrong-shaders", &sources) else {
        return;
    };
    for (result, source) in report.results.iter().zip(&sources) {
        let failed = result.messages.iter().any(|m| m.starts_with("error"));
        assert_eq!(
            failed,
            source.label != "right",
            "{}: {:?}",
            result.label,
            result.messages
        );
    }
    let barrier = report.results[0].messages.join("\n");
    assert!(barrier.contains("uniform"), "for its barrier: {barrier}");
}
