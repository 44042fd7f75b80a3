use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::weights::{Weights, cols_grid};
use crate::{SUMS, check, dirt, expect_caught, words};
use deputy::kernels::linear::{Arm, Form, Input, Output, Params};
use deputy::kernels::{Call, quantize_rows};
use deputy::reference;
use deputy::tensor::{DType, quant::padded_cols};

pub(crate) type MakeCall = fn(Form, Params) -> Call;

const INPUTS: [Input; 3] = [Input::Plain, Input::Norm, Input::Merge];
const OUTPUTS: [Output; 3] = [Output::Plain, Output::Add, Output::Gated];

#[test]
fn matvec_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        let form = Form::plain(dtype);
        for &cols in cols_grid(dtype) {
            for (rows, outs) in [(1, 1), (1, 7), (2, 32), (3, 33), (4, 257)] {
                for p in [
                    whole(dtype, rows, cols, outs),
                    part(dtype, rows, cols, outs),
                ] {
                    each(gpu, Call::MatVec, form, &p, &[]);
                }
            }
        }
        // More blocks than fit in workgroup memory at a time.
        each(gpu, Call::MatVec, form, &whole(dtype, 1, 4096, 16), &[]);
    }
}

#[test]
fn matvec_does_what_stands_before_and_behind_it() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::Q4_0] {
        for input in INPUTS {
            for output in OUTPUTS {
                let form = Form {
                    dtype,
                    input,
                    output,
                    arm: Arm::All,
                };
                for (rows, cols, outs) in [(1, 64, 2), (2, 192, 34), (3, 2304, 66), (4, 576, 250)] {
                    let p = part(dtype, rows, cols, outs);
                    each(gpu, Call::MatVec, form, &p, &[]);
                    if input == Input::Merge {
                        let p = Params { n_apart: 2, ..p };
                        each(gpu, Call::MatVec, form, &p, &[]);
                    }
                }
            }
        }
    }
}

#[test]
fn matvec_matches_the_reference_with_every_constant() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::Q4_0] {
        let form = Form {
            input: Input::Norm,
            ..Form::plain(dtype)
        };
        for wg in [32, 256] {
            for lanes in [1, 4, 32, 256] {
                for outs in [2, 4, 8] {
                    if lanes <= wg {
                        let p = part(dtype, 2, 1100, 67);
                        let constants = [("WG", wg), ("LANES", lanes), ("OUTS", outs)];
                        each(gpu, Call::MatVec, form, &p, &constants);
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
    for (p, lanes) in [
        (whole(dtype, 1, 4, 8 * 65535 + 3), 16),
        (part(dtype, 2, 4, 2 * 65535 + 65), 64),
    ] {
        let constants = [("WG", 64), ("LANES", lanes), ("OUTS", 2)];
        each(gpu, Call::MatVec, Form::plain(dtype), &p, &constants);
        let form = Form::plain(dtype);
        let program = gpu.programs(&Call::MatVec(form, p))[0].with(&constants);
        let broken = program.broken("wg.y * 65535u", "wg.y * 65536u");
        let broken = case(gpu, &broken, Call::MatVec, form, &p);
        expect_caught(&program.to_string(), "wg.y * 65536u", broken);
    }
}

#[test]
fn matmul_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        let form = Form::plain(dtype);
        for &cols in cols_grid(dtype) {
            for (rows, outs) in [(5, 33), (31, 1), (32, 32), (33, 7), (65, 65)] {
                for p in [
                    whole(dtype, rows, cols, outs),
                    part(dtype, rows, cols, outs),
                ] {
                    each(gpu, Call::MatMul, form, &p, &[]);
                }
            }
        }
        each(gpu, Call::MatMul, form, &whole(dtype, 8, 4096, 16), &[]);
    }
    // matvec and matmul are one contract: few rows are no error.
    let form = Form::plain(DType::F32);
    each(gpu, Call::MatMul, form, &part(DType::F32, 1, 36, 3), &[]);
}

#[test]
fn matmul_does_what_stands_behind_it() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::Q4_0] {
        for output in OUTPUTS {
            let form = Form {
                output,
                ..Form::plain(dtype)
            };
            for (rows, cols, outs) in [(5, 64, 2), (33, 192, 34), (64, 576, 250)] {
                each(gpu, Call::MatMul, form, &part(dtype, rows, cols, outs), &[]);
            }
        }
    }
}

#[test]
fn matmul_of_integers_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::Q4_0, DType::Q8_0] {
        for output in OUTPUTS {
            let form = Form {
                dtype,
                input: Input::Int8,
                output,
                arm: Arm::All,
            };
            for (rows, cols, outs) in [(5, 36, 2), (33, 172, 34), (65, 576, 250)] {
                let p = part(dtype, rows, cols, outs);
                each(gpu, Call::MatMul, form, &p, &[]);
            }
        }
    }
}

#[test]
fn rows_take_their_branch() {
    let Some(gpu) = gpu() else { return };
    use {Input::*, Output::*};
    for (dtype, input, output, arm, call, rows) in [
        (
            DType::F32,
            Norm,
            Output::Plain,
            Arm::Split,
            Call::MatVec as MakeCall,
            3,
        ),
        (DType::F32, Merge, Add, Arm::Split, Call::MatVec, 4),
        (DType::F32, Input::Plain, Gated, Arm::Split, Call::MatMul, 9),
        (DType::F32, Input::Plain, Add, Arm::Split, Call::MatMul, 70),
        (
            DType::F32,
            Input::Plain,
            Output::Plain,
            Arm::Some,
            Call::MatVec,
            4,
        ),
        (DType::F32, Input::Plain, Add, Arm::Some, Call::MatMul, 33),
        (
            DType::F32,
            Latents,
            Output::Plain,
            Arm::Some,
            Call::MatVec,
            4,
        ),
        (DType::F32, Latents, Gated, Arm::Some, Call::MatVec, 4),
        (DType::F32, Latents, Gated, Arm::Some, Call::MatMul, 70),
        (
            DType::F32,
            Latents,
            Output::Plain,
            Arm::Parts,
            Call::MatVec,
            4,
        ),
        (
            DType::Q4_0,
            Latents,
            Output::Plain,
            Arm::Parts,
            Call::MatVec,
            3,
        ),
        (
            DType::F32,
            Latents,
            Output::Plain,
            Arm::Parts,
            Call::MatMul,
            70,
        ),
        (
            DType::Q4_0,
            Latents,
            Output::Plain,
            Arm::Parts,
            Call::MatMul,
            9,
        ),
        (DType::Q4_0, Norm, Gated, Arm::Split, Call::MatVec, 4),
        (DType::Q4_0, Input::Plain, Add, Arm::Split, Call::MatMul, 33),
        (DType::Q4_0, Latents, Add, Arm::Some, Call::MatMul, 9),
        (DType::Q8_0, Int8, Add, Arm::Split, Call::MatMul, 37),
    ] {
        let form = Form {
            dtype,
            input,
            output,
            arm,
        };
        for (is_ffn, branches, zeros) in [
            (0, 0b011, 0),
            (1, 0b111, 0b100),
            (1, 0b010, 0),
            (1, 0b001, 0),
        ] {
            // Low-rank rows are what an arm is split for.
            if arm == Arm::Split && branches & 0b010 == 0 {
                continue;
            }
            // Some kernels spread a few outputs over the workgroups of many.
            let outs = if arm == Arm::Split && rows < 5 {
                600
            } else {
                34
            };
            let p = Params {
                is_ffn,
                branches,
                zeros,
                ..routed(part(dtype, rows, 192, outs), arm)
            };
            if arm != Arm::Parts {
                each(gpu, call, form, &p, &[]);
                continue;
            }
            // More outputs than a workgroup makes, three weights and two.
            for (outs, next_outs) in [(334, 32), (206, 172), (34, 0)] {
                let p = parts_of(p, outs, next_outs);
                each(gpu, call, form, &p, &[]);
            }
        }
    }
}

/// With what a product in a routed layer has besides.
pub(crate) fn routed(p: Params, arm: Arm) -> Params {
    let low_outs = match arm {
        Arm::Split if p.outs > 500 => 200,
        Arm::Split => 20,
        _ => 0,
    };
    Params {
        x_first: 8,
        x_cols: 3 * p.cols + 12,
        low_first: if arm == Arm::Split { p.outs } else { 0 },
        low_outs,
        low_cols: low_outs + 4,
        ..p
    }
}

/// Three weights side by side, or two where the first has as many outputs; or one.
pub(crate) fn parts_of(p: Params, outs: u32, next_outs: u32) -> Params {
    let n_next = if next_outs > 100 { 1 } else { 2 };
    Params {
        branches: 0b010,
        zeros: 0,
        outs,
        y_cols: outs + 8,
        first_outs: outs - n_next * next_outs,
        next_outs,
        ..p
    }
}

/// Branches of rows in turn, the last row padding, and the lists of rows by branch.
fn routes(n_rows: usize) -> Vec<u32> {
    let branches = |r: usize| match r {
        r if r + 1 == n_rows && n_rows > 4 => (3, 3),
        r => ((r as u32 / 2) % 2, r as u32 % 3),
    };
    let mut words: Vec<[u32; 4]> = (0..n_rows)
        .map(|r| [branches(r).0 | branches(r).1 << 2, 0, 0, 0])
        .collect();
    let list = |branch: u32, is_ffn: bool| {
        (0..n_rows).filter(move |&r| branch == if is_ffn { branches(r).1 } else { branches(r).0 })
    };
    if n_rows > 4 {
        for (i, r) in list(0, false).chain(list(1, false)).enumerate() {
            words[i][1] = r as u32;
        }
        for (i, r) in (0..3).flat_map(|branch| list(branch, true)).enumerate() {
            words[i][2] = r as u32;
        }
        for (i, (branch, is_ffn)) in [(0, false), (1, false), (0, true), (1, true), (2, true)]
            .into_iter()
            .enumerate()
        {
            words[i][3] = list(branch, is_ffn).count() as u32;
        }
    }
    words.concat()
}

pub(crate) fn widest(dtype: DType) -> usize {
    *cols_grid(dtype).last().expect("some")
}

/// A matrix in one part, without a bias.
fn whole(dtype: DType, rows: u32, cols: usize, outs: u32) -> Params {
    Params {
        rows,
        cols: cols as u32,
        blocks: (padded_cols(dtype, cols) / 32) as u32,
        outs,
        y_cols: outs,
        half: outs / 2,
        eps: 0.1,
        head_dim: 64,
        n_splits: 5,
        ..Params::default()
    }
}

/// A part of a matrix that was split by its rows, with a bias.
pub(crate) fn part(dtype: DType, rows: u32, cols: usize, outs: u32) -> Params {
    Params {
        y_first: 5,
        y_cols: outs + 8,
        has_bias: 1,
        bias_first: 3,
        ..whole(dtype, rows, cols, outs)
    }
}

/// One format has the tiles that are used, the others small ones.
fn each(gpu: &Gpu, call: MakeCall, form: Form, p: &Params, constants: &[(&str, u32)]) {
    for program in gpu.programs(&call(form, *p)) {
        let program = match form.dtype {
            DType::Q4_0 => program.with(constants),
            _ => program.with_small_tile().with(constants),
        };
        case(gpu, &program, call, form, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

pub(crate) fn case(
    gpu: &Gpu,
    program: &Program,
    call: MakeCall,
    form: Form,
    p: &Params,
) -> Result<(), String> {
    let n_weights = (p.outs + p.low_outs) as usize;
    let weights = Weights::random(form.dtype, n_weights, p.cols as usize, 1);
    let x = match form.input {
        Input::Merge => records(p),
        Input::Int8 => blocks_of_bytes(p),
        Input::Latents => random(4, (p.rows * p.x_cols) as usize),
        _ => random(4, (p.rows * p.cols) as usize),
    };
    let bias = match p.has_bias {
        0 => vec![0.0],
        _ => random(3, (p.bias_first + p.outs) as usize),
    };
    let gains = random(5, p.cols as usize);
    let residual = random(6, (p.rows * p.y_cols) as usize);
    let (y, mut want) = dirt((p.rows * p.y_cols) as usize);
    let mut args = vec![Arg::In(1, &weights.q)];
    if !weights.s.is_empty() {
        args.push(Arg::In(2, &weights.s));
    }
    args.extend([Arg::In(3, words(&x)), Arg::In(4, words(&bias))]);
    if form.input == Input::Norm {
        args.push(Arg::In(5, words(&gains)));
    }
    if form.output == Output::Add {
        args.push(Arg::In(6, words(&residual)));
    }
    let routes = routes(p.rows as usize);
    if form.arm != Arm::All {
        args.push(Arg::In(7, &routes));
    }
    args.push(Arg::Out(8, &y));
    let (latents, mut want_latents) = dirt((p.rows * p.low_cols) as usize);
    if form.arm == Arm::Split {
        args.push(Arg::Out(9, &latents));
    }
    let got = gpu.run(program, &call(form, *p), &args)?;
    let inputs = reference::Inputs {
        x: &x,
        bias: &bias,
        gains: &gains,
        table: &[],
        residual: &residual,
        routes: &routes,
    };
    reference::linear(
        form,
        p,
        weights.packed(),
        inputs,
        &mut want,
        &mut want_latents,
    );
    check(&got[0], &want, SUMS)?;
    match got.get(1) {
        Some(latents) => check(latents, &want_latents, SUMS),
        None => Ok(()),
    }
}

/// Random rows as the kernel before leaves them.
fn blocks_of_bytes(p: &Params) -> Vec<f32> {
    let quantize = quantize_rows::Params {
        rows: p.rows,
        cols: p.cols,
        blocks: p.blocks,
        pad0: 0,
    };
    let x = random(4, (p.rows * p.cols) as usize);
    let mut words = vec![0; (p.rows * p.blocks * quantize_rows::BLOCK_WORDS) as usize];
    reference::quantize_rows(&quantize, &x, &mut words);
    bytemuck::pod_collect_to_vec(&words)
}

/// What the splits of an attention leave: a row may have keys in none of them, in some or in all.
fn records(p: &Params) -> Vec<f32> {
    let record = p.head_dim as usize + 4;
    let n_heads = (p.cols / p.head_dim) as usize;
    let n_splits = (p.n_splits + p.n_apart) as usize;
    let mut values = random(4, p.rows as usize * n_splits * n_heads * record);
    for (i, record) in values.chunks_exact_mut(record).enumerate() {
        let row = i / n_heads / n_splits;
        let [.., most, sum, n_live, _] = record else {
            unreachable!("a record ends with four numbers")
        };
        *most *= 5.0;
        *sum += 1.5;
        // Records apart say for themselves whether they have keys.
        let is_apart = i / n_heads % n_splits >= p.n_splits as usize;
        if is_apart && i % 3 == 0 {
            (*most, *sum) = (1e4, 0.0);
        }
        *n_live = match is_apart {
            true => [0, 1, 1][i % 3],
            false => [3, 0, 5, 1][row % 4],
        } as f32;
    }
    values
}
