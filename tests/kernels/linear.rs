use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::weights::{Weights, cols_grid};
use crate::{SUMS, check, dirt, expect_caught, words};
use deputy::kernels::{Call, linear::Params};
use deputy::reference;
use deputy::tensor::{DType, quant::padded_cols};

type MakeCall = fn(DType, Params) -> Call;

#[test]
fn matvec_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        for &cols in cols_grid(dtype) {
            for (rows, outs) in [(1, 1), (1, 7), (2, 32), (3, 33), (4, 257)] {
                for p in [
                    whole(dtype, rows, cols, outs),
                    part(dtype, rows, cols, outs),
                ] {
                    each(gpu, Call::MatVec, dtype, &p, &[]);
                }
            }
        }
        each(gpu, Call::MatVec, dtype, &whole(dtype, 1, 4096, 16), &[]);
    }
}

#[test]
fn matvec_matches_the_reference_with_every_constant() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::Q4_0] {
        for wg in [32, 256] {
            for lanes in [1, 4, 32, 256] {
                for outs in [1, 3, 8] {
                    if lanes <= wg {
                        let p = part(dtype, 2, 1100, 67);
                        let constants = [("WG", wg), ("LANES", lanes), ("OUTS", outs)];
                        each(gpu, Call::MatVec, dtype, &p, &constants);
                    }
                }
            }
        }
    }
}

#[test]
fn matvec_reaches_more_outputs_than_one_dimension_of_workgroups() {
    let Some(gpu) = gpu() else { return };
    let dtype = DType::F16;
    for (p, lanes, outs) in [
        (whole(dtype, 1, 4, 4 * 65535 + 3), 16, 1),
        (part(dtype, 2, 4, 65535 + 65), 64, 1),
        (whole(dtype, 1, 4, 2 * 65535 + 5), 64, 2),
    ] {
        let constants = [("WG", 64), ("LANES", lanes), ("OUTS", outs)];
        each(gpu, Call::MatVec, dtype, &p, &constants);
    }
}

#[test]
fn matmul_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        for &cols in cols_grid(dtype) {
            for (rows, outs) in [(5, 33), (31, 1), (32, 32), (33, 7), (65, 65)] {
                for p in [
                    whole(dtype, rows, cols, outs),
                    part(dtype, rows, cols, outs),
                ] {
                    each(gpu, Call::MatMul, dtype, &p, &[]);
                }
            }
        }
        each(gpu, Call::MatMul, dtype, &whole(dtype, 8, 4096, 16), &[]);
    }
    // matvec and matmul are one contract: few rows are no error.
    each(
        gpu,
        Call::MatMul,
        DType::F32,
        &part(DType::F32, 1, 36, 3),
        &[],
    );
}

#[test]
fn a_wrong_matvec_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::F32, "block += LANES", "block += LANES + 1u"),
        (DType::F32, "x[first + 3u]", "x[first + 2u]"),
        (DType::F32, "at + 7u <= last", "true"),
        (DType::F32, "at + i <= last", "at + i < last"),
        (DType::F32, "w[7] * x[7]", "w[7] * x[6]"),
        (DType::F32, "&& first + i < params.outs", ""),
        (DType::F32, "params.y_first + first + i;", "first + i;"),
        (DType::F32, "bias[column]", "bias[first + i]"),
        (DType::F32, "wg.z * params.y_cols", "wg.z * params.outs"),
        (DType::F32, "sums[i] +=", "sums[0] +="),
        (DType::F16, "wg.y * 65535u", "wg.y * 65536u"),
        (DType::F16, "(words.y)", "(words.x)"),
        (DType::BF16, "words.x & 0xffff0000u", "words.x"),
        (DType::Q8_0, "[block % 2u]", "[0]"),
        (DType::Q8_0, "(b.w)) * x[7]", "(b.z)) * x[7]"),
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
            // Shows only where one dimension of workgroups is not enough.
            "wg.y * 65535u" => whole(dtype, 1, 4, 8 * 65535 + 30),
            // 36 columns cut a block, so that reading past it shows.
            "at + 7u <= last" | "at + i <= last" => part(dtype, 2, 36, 33),
            _ => part(dtype, 2, widest(dtype), 33),
        };
        caught(gpu, Call::MatVec, dtype, &p, from, to);
    }
}

#[test]
fn a_wrong_matmul_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::F32, "acc3 += a.w * b", "acc3 += a.z * b"),
        (DType::F32, "row < params.rows && ", ""),
        (DType::F32, "&& n < params.outs", ""),
        (DType::F32, "min(quad + 1u, n_quads - 1u)", "quad"),
        (DType::F32, "bias[column]", "bias[n]"),
        (DType::F32, "row * params.y_cols", "row * params.outs"),
        (DType::F32, "column < 32u", "column < 31u"),
        (
            DType::F16,
            "decode_quad(words.zw));\n}\n\nfn decode_block",
            "decode_quad(words.xy));\n}\n\nfn decode_block",
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
        caught(
            gpu,
            Call::MatMul,
            dtype,
            &part(dtype, 33, widest(dtype), 33),
            from,
            to,
        );
    }
}

#[test]
fn a_wrong_matmul_private_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (DType::F32, "sums[i][r] += ", "sums[i][0] += "),
        (
            DType::F32,
            "row_first + r, params.rows",
            "row_first, params.rows",
        ),
        (DType::F32, "row < params.rows && ", ""),
        (DType::F32, "&& n < params.outs", ""),
        (DType::F32, "bias[column]", "bias[n]"),
        (DType::F32, "row * params.y_cols", "row * params.outs"),
        (DType::Q4_0, "(words.w, scale)", "(words.z, scale)"),
    ] {
        let p = part(dtype, 33, widest(dtype), 33);
        let call = Call::MatMul(dtype, p);
        let programs = gpu.programs(&call);
        let program = programs.iter().find(|p| p.to_string().contains("private"));
        let program = program
            .expect("software adapters have one")
            .with(&[("OUTS", 4), ("ROWS", 2)]);
        case(gpu, &program, Call::MatMul, dtype, &p).unwrap_or_else(|e| panic!("{program}: {e}"));
        let broken = case(gpu, &program.broken(from, to), Call::MatMul, dtype, &p);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

fn widest(dtype: DType) -> usize {
    *cols_grid(dtype).last().expect("some")
}

/// A matrix in one part, without a bias.
fn whole(dtype: DType, rows: u32, cols: usize, outs: u32) -> Params {
    Params {
        rows,
        cols: cols as u32,
        blocks: (padded_cols(dtype, cols) / 32) as u32,
        outs,
        y_first: 0,
        y_cols: outs,
        has_bias: 0,
        pad0: 0,
    }
}

/// A part of a matrix that was split by its rows, with a bias.
fn part(dtype: DType, rows: u32, cols: usize, outs: u32) -> Params {
    Params {
        y_first: 5,
        y_cols: outs + 8,
        has_bias: 1,
        ..whole(dtype, rows, cols, outs)
    }
}

fn each(gpu: &Gpu, call: MakeCall, dtype: DType, p: &Params, constants: &[(&str, u32)]) {
    for program in gpu.programs(&call(dtype, *p)) {
        let program = program.with(constants);
        case(gpu, &program, call, dtype, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

fn caught(gpu: &Gpu, call: MakeCall, dtype: DType, p: &Params, from: &str, to: &str) {
    let call_ = call(dtype, *p);
    let program = &gpu.programs(&call_)[0];
    case(gpu, program, call, dtype, p).unwrap_or_else(|e| panic!("unbroken {program} {p:?}: {e}"));
    let broken = case(gpu, &program.broken(from, to), call, dtype, p);
    expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
}

fn case(
    gpu: &Gpu,
    program: &Program,
    call: MakeCall,
    dtype: DType,
    p: &Params,
) -> Result<(), String> {
    let weights = Weights::random(dtype, p.outs as usize, p.cols as usize, 1);
    let x = random(4, (p.rows * p.cols) as usize);
    let bias = match p.has_bias {
        0 => vec![0.0],
        _ => random(3, p.y_cols as usize),
    };
    let (y, mut want) = dirt((p.rows * p.y_cols) as usize);
    let mut args = vec![
        Arg::In(1, &weights.q),
        Arg::In(3, words(&x)),
        Arg::In(4, words(&bias)),
        Arg::Out(5, &y),
    ];
    if !weights.s.is_empty() {
        args.push(Arg::In(2, &weights.s));
    }
    let got = gpu.run(program, &call(dtype, *p), &args)?;
    reference::linear(dtype, p, weights.packed(), &x, &bias, &mut want);
    check(&got[0], &want, SUMS)
}
