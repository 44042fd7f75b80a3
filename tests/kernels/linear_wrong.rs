//! Broken products, which the comparisons of `linear` must catch.

use deputy::kernels::Call;
use deputy::kernels::linear::{Arm, Form, Input, Output, Params};
use deputy::tensor::DType;

use crate::expect_caught;
use crate::gpu::{Gpu, gpu};
use crate::linear::{MakeCall, case, part, parts_of, routed, widest};

#[test]
fn a_wrong_matmul_of_integers_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::Q4_0, "pair.x >> 4u", "pair.x"),
        (DType::Q4_0, "- vec4(0x08080808u)", ""),
        (
            DType::Q4_0,
            "half == 1u);\n    let nibbles",
            "half == 0u);\n    let nibbles",
        ),
        (DType::Q8_0, "* 2u + half];", "* 2u];"),
        (
            DType::Q8_0,
            "row_scale.z * out_scale",
            "row_scale.y * out_scale",
        ),
        (DType::Q8_0, "dot4I8Packed(a, b.w)", "dot4I8Packed(a, b.z)"),
        (DType::Q8_0, "word < 8u", "word < 7u"),
        (
            DType::Q8_0,
            "params.blocks + block) * 9u",
            "params.blocks + block) * 8u",
        ),
    ] {
        let form = Form {
            input: Input::Int8,
            ..Form::plain(dtype)
        };
        let p = part(dtype, 33, 576, 33);
        caught(gpu, Call::MatMul, form, &p, from, to);
    }
}

#[test]
fn a_wrong_matvec_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::F32, "block += LANES", "block += LANES + 1u"),
        (DType::F32, "x_piece[at + 3u]", "x_piece[at + 2u]"),
        (DType::F32, "quad < n_quads", "true"),
        (DType::F32, "w[7] * x[7]", "w[7] * x[6]"),
        (DType::F32, "if n + 1u < params.outs", "if true"),
        (DType::F32, "params.y_first + n", "n"),
        (
            DType::F32,
            "params.bias_first + stacked_row(n)",
            "stacked_row(n)",
        ),
        (DType::F32, "row * params.y_cols", "row * params.outs"),
        (DType::F32, "sums[i] +=", "sums[0] +="),
        (DType::F16, "(words.y)", "(words.x)"),
        (DType::BF16, "words.x & 0xffff0000u", "words.x"),
        (DType::Q8_0, "(block & 1u) == 1u", "false"),
        (DType::Q8_0, "(b.w) * x[7]", "(b.z) * x[7]"),
        (DType::Q4_0, "8.0 * x_sum", "7.0 * x_sum"),
        (DType::Q4_0, "(words.w) * x[7]", "(words.z) * x[7]"),
        (DType::Q4_1, "+ affine.y * x_sum", ""),
        (DType::Q5_0, "words.w, fifth, 3u", "words.w, fifth, 2u"),
        (DType::Q4K, "- affine.y * x_sum", ""),
        (DType::Q4K, "16u + 2u * j", "2u * j"),
        (DType::Q5K, "block / 8u) * 12u", "block / 8u) * 4u"),
        (DType::Q6K, "(row, block, 2u)", "(row, block, 0u)"),
    ] {
        let p = match from {
            // 36 columns cut a block, so that reading past it shows.
            "quad < n_quads" => part(dtype, 2, 36, 33),
            _ => part(dtype, 2, widest(dtype), 33),
        };
        caught(gpu, Call::MatVec, Form::plain(dtype), &p, from, to);
    }
}

#[test]
fn wrong_inputs_and_outputs_are_caught() {
    let Some(gpu) = gpu() else { return };
    let dtype = DType::F32;
    for (input, output, from, to) in [
        (Input::Norm, Output::Plain, "v * gains[quad]", "v"),
        (
            Input::Norm,
            Output::Plain,
            "squares += dot(v, v)",
            "squares = dot(v, v)",
        ),
        (Input::Norm, Output::Plain, "/ f32(params.cols)", ""),
        (Input::Norm, Output::Plain, "+ params.eps", ""),
        (Input::Merge, Output::Plain, "state.y * exp", "exp"),
        (
            Input::Merge,
            Output::Plain,
            "state.x - most",
            "most - state.x",
        ),
        (Input::Merge, Output::Plain, "at + quad % n_quads]", "at]"),
        (
            Input::Merge,
            Output::Plain,
            "split_stride + quad % n_quads]",
            "split_stride]",
        ),
        (
            Input::Merge,
            Output::Plain,
            "n_with_keys == 1u",
            "n_with_keys < 1u",
        ),
        (
            Input::Merge,
            Output::Plain,
            "if state.z > 0.0 {",
            "if true {",
        ),
        (
            Input::Merge,
            Output::Plain,
            "+ (i + select(0u, n_unused, i >= n_live))",
            "+ i",
        ),
        (
            Input::Merge,
            Output::Plain,
            "select(most, max(most, state.x), state.z > 0.0)",
            "max(most, state.x)",
        ),
        (Input::Merge, Output::Plain, "quad / n_quads * record", "0u"),
        (Input::Plain, Output::Add, "residual[at] + pair.x", "pair.x"),
        (
            Input::Plain,
            Output::Add,
            "residual[at + 1u]",
            "residual[at]",
        ),
        (
            Input::Plain,
            Output::Gated,
            "n % 2u * params.half",
            "n % 2u",
        ),
        (Input::Plain, Output::Gated, ".x * pair.y", ".x"),
    ] {
        let form = Form {
            dtype,
            input,
            output,
            arm: Arm::All,
        };
        let p = Params {
            n_apart: 1,
            ..part(dtype, 2, 1152, 34)
        };
        caught(gpu, Call::MatVec, form, &p, from, to);
    }
}

#[test]
fn a_wrong_matmul_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::F32, "acc3 += a.w * b", "acc3 += a.z * b"),
        (DType::F32, "i >= params.rows || ", ""),
        (DType::F32, "|| n >= params.outs", ""),
        (DType::F32, "min(quad + 1u, n_quads - 1u)", "quad"),
        (DType::F32, "row * params.y_cols", "row * params.outs"),
        (DType::F32, "column < 16u", "column < 15u"),
        (DType::F32, "step % 2u * 2u + octet", "octet"),
        (
            DType::F16,
            "decode_quad(words.zw));\n}\n\nfn decode_half",
            "decode_quad(words.xy));\n}\n\nfn decode_half",
        ),
        (DType::Q8_0, "octet % 2u == 1u", "octet % 2u == 0u"),
        (DType::Q4_0, "[octet]", "[0]"),
        (
            DType::Q4_0,
            "(high_nibbles(word) - 8.0)",
            "high_nibbles(word)",
        ),
        (
            DType::Q4_1,
            "high_nibbles(word) * affine.x + affine.y",
            "high_nibbles(word) * affine.x",
        ),
        (DType::Q6K, "octet >= 2u", "octet >= 1u"),
    ] {
        let p = part(dtype, 33, widest(dtype), 33);
        caught(gpu, Call::MatMul, Form::plain(dtype), &p, from, to);
    }
}

#[test]
fn a_wrong_kernel_for_software_adapters_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (call, dtype, rows, from, to) in [
        (
            Call::MatVec as MakeCall,
            DType::F32,
            2,
            "sums[i] +=",
            "sums[0] +=",
        ),
        (
            Call::MatVec,
            DType::F32,
            2,
            "wg.x + wg.y",
            "wg.x + 1u + wg.y",
        ),
        (
            Call::MatMul,
            DType::F32,
            33,
            "sums[i][r] += ",
            "sums[i][0] += ",
        ),
        (
            Call::MatMul,
            DType::F32,
            33,
            "row_first + r, arm.n_rows",
            "row_first, arm.n_rows",
        ),
        (
            Call::MatMul,
            DType::F32,
            33,
            "values[r + 1u] = array(x[4],",
            "values[r + 1u] = array(x[0],",
        ),
        (Call::MatMul, DType::F32, 33, "* 8u + half * 4u;", "* 8u;"),
        (Call::MatMul, DType::F16, 33, "* 4u + half * 2u", "* 4u"),
        (
            Call::MatMul,
            DType::Q8_0,
            33,
            "words = block_bytes(row, block, half)",
            "words = block_bytes(row, block, 0u)",
        ),
        (
            Call::MatMul,
            DType::Q4_0,
            33,
            "half == 1u);\n    let scale",
            "half == 0u);\n    let scale",
        ),
        (Call::MatMul, DType::Q4_1, 33, "half == 1u", "half == 0u"),
        (Call::MatMul, DType::Q4K, 33, "half == 1u", "half == 0u"),
        (
            Call::MatMul,
            DType::Q5_0,
            33,
            "half * 2u + 1u, scale",
            "1u, scale",
        ),
        (
            Call::MatMul,
            DType::Q5K,
            33,
            "fifth, half * 2u, affine",
            "fifth, 0u, affine",
        ),
        (
            Call::MatMul,
            DType::Q6K,
            33,
            "octet_scale(row, block, half * 2u)",
            "octet_scale(row, block, 0u)",
        ),
    ] {
        let form = Form::plain(dtype);
        let p = part(dtype, rows, widest(dtype), 33);
        let programs = gpu.programs(&call(form, p));
        let lane = programs
            .iter()
            .filter(|p| p.shader.kernel.ends_with("_lane"));
        for program in lane {
            let program = &program.with_small_tile();
            case(gpu, program, call, form, &p).unwrap_or_else(|e| panic!("{program}: {e}"));
            let broken = case(gpu, &program.broken(from, to), call, form, &p);
            expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
    if gpu.subgroups >= 4 {
        for (dtype, from, to) in [
            (
                DType::F32,
                "quadBroadcast(mine, 2u)",
                "quadBroadcast(mine, 0u)",
            ),
            (DType::F32, "octet * 2u + (lid & 1u)", "octet * 2u"),
            (DType::F32, "mine + 6u", "mine + 4u"),
            (DType::F32, "octet + 3u", "octet + 2u"),
            (DType::Q8_0, "word ^ 0x00808080u", "word"),
            (DType::Q4_0, "vec4(word) & BYTES", "vec4(word)"),
        ] {
            let form = Form::plain(dtype);
            let p = part(dtype, 33, widest(dtype), 33);
            let programs = gpu.programs(&Call::MatMul(form, p));
            let narrow = programs.iter().find(|p| p.shader.kernel == "matmul_narrow");
            let narrow = narrow.expect("subgroups share eight columns");
            case(gpu, narrow, Call::MatMul, form, &p).unwrap_or_else(|e| panic!("{narrow}: {e}"));
            let broken = case(gpu, &narrow.broken(from, to), Call::MatMul, form, &p);
            expect_caught(&narrow.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
    if gpu.subgroups >= 8 {
        let form = Form::plain(DType::F32);
        let p = part(DType::F32, 33, 36, 33);
        let programs = gpu.programs(&Call::MatMul(form, p));
        let shared = programs
            .iter()
            .find(|p| p.shader.label == "matmul_lane_f32_subgroup");
        let shared = shared.expect("subgroups share halves").with_small_tile();
        for (from, to) in [
            ("(lid & 4u) != 0u", "(lid & 4u) == 0u"),
            ("subgroupBroadcast(mine, 6u)", "subgroupBroadcast(mine, 2u)"),
            (
                "min(block * 8u + half * 4u + (lid & 3u), n_quads - 1u)",
                "block * 8u + half * 4u + (lid & 3u)",
            ),
        ] {
            let broken = case(gpu, &shared.broken(from, to), Call::MatMul, form, &p);
            expect_caught(&shared.to_string(), &format!("{from} -> {to}"), broken);
        }
        let form = Form {
            input: Input::Norm,
            ..Form::plain(DType::F32)
        };
        let p = part(DType::F32, 2, 36, 33);
        let programs = gpu.programs(&Call::MatVec(form, p));
        let shared = programs
            .iter()
            .find(|p| p.shader.label == "matvec_lane_f32_norm_subgroup");
        let shared = shared.expect("subgroups share a block");
        for (from, to) in [
            ("subgroupBroadcast(mine, 5u)", "subgroupBroadcast(mine, 4u)"),
            ("subgroupBroadcast(value, 0u) +", ""),
            ("quad < n_input_quads()", "true"),
        ] {
            let broken = case(gpu, &shared.broken(from, to), Call::MatVec, form, &p);
            expect_caught(&shared.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
}

#[test]
fn a_wrong_branch_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (call, input, output, arm, rows, from, to) in [
        (
            Call::MatVec as MakeCall,
            Input::Plain,
            Output::Plain,
            Arm::Some,
            4,
            "params.branches >> branch",
            "params.branches >> 0u",
        ),
        (
            Call::MatVec,
            Input::Plain,
            Output::Add,
            Arm::Some,
            4,
            "is_zero == 1u",
            "is_zero == 2u",
        ),
        (
            Call::MatVec,
            Input::Plain,
            Output::Add,
            Arm::Some,
            4,
            "&& arm.blocks > 0u",
            "",
        ),
        (
            Call::MatVec,
            Input::Plain,
            Output::Plain,
            Arm::Split,
            4,
            "params.low_first + min",
            "min",
        ),
        (
            Call::MatVec,
            Input::Plain,
            Output::Plain,
            Arm::Split,
            4,
            "row * params.low_cols",
            "row * params.low_outs",
        ),
        (
            Call::MatVec,
            Input::Plain,
            Output::Plain,
            Arm::Some,
            4,
            "(2u * params.is_ffn)) & 3u",
            "0u) & 3u",
        ),
        (
            Call::MatVec,
            Input::Latents,
            Output::Gated,
            Arm::Some,
            4,
            "side * n_quads + quad",
            "quad",
        ),
        (
            Call::MatVec,
            Input::Latents,
            Output::Gated,
            Arm::Some,
            4,
            "+ params.x_first / 4u",
            "",
        ),
        (
            Call::MatMul,
            Input::Latents,
            Output::Gated,
            Arm::Some,
            33,
            "acc2 += vec4(a.z, other.z",
            "acc2 += vec4(a.z, a.z",
        ),
        (
            Call::MatMul,
            Input::Plain,
            Output::Plain,
            Arm::Split,
            33,
            "min(arm.first + i, params.rows - 1u)",
            "i",
        ),
        (
            Call::MatMul,
            Input::Plain,
            Output::Plain,
            Arm::Split,
            33,
            "first += routes",
            "first = routes",
        ),
        (
            Call::MatMul,
            Input::Plain,
            Output::Plain,
            Arm::Split,
            33,
            "tile - select(select(b, a, tile < b), 0u, tile < a)",
            "tile",
        ),
        (
            Call::MatVec,
            Input::Latents,
            Output::Plain,
            Arm::Parts,
            4,
            "part * params.cols)",
            "0u)",
        ),
        (
            Call::MatVec,
            Input::Latents,
            Output::Plain,
            Arm::Parts,
            4,
            "(part - 1u) * params.next_outs",
            "0u",
        ),
        (
            Call::MatVec,
            Input::Latents,
            Output::Plain,
            Arm::Parts,
            4,
            "u32(row >= 2u * params.rows)",
            "0u",
        ),
        (
            Call::MatMul,
            Input::Latents,
            Output::Plain,
            Arm::Parts,
            33,
            "arm.part * params.rows + min(row",
            "min(row",
        ),
        (
            Call::MatMul,
            Input::Latents,
            Output::Plain,
            Arm::Parts,
            33,
            "tile % ((params.rows + n - 1u) / n)",
            "tile",
        ),
    ] {
        let form = Form {
            dtype: DType::F32,
            input,
            output,
            arm,
        };
        let p = Params {
            is_ffn: 1,
            branches: if from.contains("params.branches") {
                0b001
            } else {
                0b111
            },
            zeros: if from.contains("params.branches") {
                0
            } else {
                0b100
            },
            ..routed(part(DType::F32, rows, 192, 34), arm)
        };
        let p = match arm {
            Arm::Parts => parts_of(p, 334, 32),
            _ => p,
        };
        caught(gpu, call, form, &p, from, to);
    }
}

fn caught(gpu: &Gpu, call: MakeCall, form: Form, p: &Params, from: &str, to: &str) {
    let programs = gpu.programs(&call(form, *p));
    let program = &programs[0];
    case(gpu, program, call, form, p).unwrap_or_else(|e| panic!("unbroken {program} {p:?}: {e}"));
    let broken = case(gpu, &program.broken(from, to), call, form, p);
    expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
}
