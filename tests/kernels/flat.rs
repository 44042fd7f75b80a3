//! Integers with one scale: how they are made, and their products. Integers match the twins bit for bit.

use crate::common::random;
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::weights::words_of_rows;
use crate::{SUMS, check, dirt, expect_caught, words};
use deputy::graph::Flat;
use deputy::kernels::linear::{Arm, Form, Input, Output, Params};
use deputy::kernels::{Call, flatten_rows};
use deputy::reference;
use deputy::tensor::quant::write_row;
use deputy::tensor::{DType, quant::padded_cols};
use half::f16;

/// Every fifth column in some copies, one in as many as there may be.
fn flat(cols: u32, scale: Option<f32>) -> Flat {
    let mut copies: Vec<u8> = (0..cols)
        .map(|i| if i % 5 == 2 { 2 + (i % 3) as u8 } else { 1 })
        .collect();
    copies[cols as usize / 2] = 254;
    Flat { copies, scale }
}

fn params(flat: &Flat, rows: u32) -> flatten_rows::Params {
    let scale = flat.scale.unwrap_or(0.0);
    flatten_rows::Params {
        rows,
        cols: flat.copies.len() as u32,
        blocks: flat.blocks(),
        extra_blocks: flat.extra_blocks(),
        scale,
        inverse: if scale > 0.0 { 1.0 / scale } else { 0.0 },
        has_norm: 0,
        eps: 0.1,
    }
}

const SHAPES: [(u32, u32); 6] = [(1, 4), (3, 32), (2, 36), (5, 172), (33, 576), (2, 2304)];

#[test]
fn flatten_rows_gives_the_integers_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (rows, cols) in SHAPES {
        for scale in [Some(0.003), Some(0.05), None] {
            for has_norm in [false, true] {
                flatten_case(gpu, Program::clone, &flat(cols, scale), rows, has_norm)
                    .unwrap_or_else(|e| panic!("{rows} x {cols}, {scale:?}, {has_norm}: {e}"));
            }
        }
        let plain = Flat {
            copies: vec![1; cols as usize],
            scale: Some(0.01),
        };
        flatten_case(gpu, Program::clone, &plain, rows, false).expect("no copies");
    }
    flatten_case(gpu, Program::clone, &flat(4, None), 65537, true).expect("many rows");
}

#[test]
fn a_wrong_flatten_rows_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (scale, has_norm, from, to) in [
        (Some(0.01), false, "* inverse);\n", ");\n"),
        (Some(0.01), false, "clamp(v, vec4(-MAX), vec4(MAX))", "v"),
        (Some(0.01), false, "least + MAX)", "least)"),
        (Some(0.01), false, "entry >> 24u", "entry >> 25u"),
        (Some(0.01), false, "- clamp(v, -least, least)", ""),
        (Some(0.01), false, "row * (words + 1u)", "row * words"),
        (Some(0.01), false, "column % 4u]", "0u]"),
        (None, false, "/ vec4<f32>(table[quad])", ""),
        (None, false, "/ MAX;", "/ 126.0;"),
        (
            None,
            false,
            "bitcast<u32>(scale)",
            "bitcast<u32>(params.scale)",
        ),
        (Some(0.01), true, "* gains[quad]", ""),
        (Some(0.01), true, "v * factor", "v"),
        (Some(0.01), true, "+ params.eps", ""),
    ] {
        let broken = flatten_case(gpu, |p| p.broken(from, to), &flat(172, scale), 5, has_norm);
        expect_caught("flatten_rows", &format!("{from} -> {to}"), broken);
    }
}

/// What FlattenQuant rests on: within the range the copies are the value, beyond it the range's end.
#[test]
fn copies_add_up_to_the_value_as_far_as_they_reach() {
    let scale = 1.0 / 64.0;
    for n in [1u8, 2, 3, 7, 254] {
        let flat = Flat {
            copies: vec![n; 4],
            scale: Some(scale),
        };
        let most = 127 * i32::from(n);
        for v in [
            0,
            1,
            126,
            127,
            128,
            -127,
            -129,
            255,
            most - 1,
            most,
            most + 1,
            -most,
            9 * most,
        ] {
            let x = vec![v as f32 * scale; 4];
            let p = params(&flat, 1);
            let mut y = vec![0; flatten_rows::row_words(p.blocks, p.extra_blocks) as usize];
            reference::flatten_rows(&p, &x, &[], &flat.table(), &mut y);
            assert_eq!(f32::from_bits(y[y.len() - 1]), scale);
            let bytes: &[i8] = bytemuck::cast_slice(&y[..y.len() - 1]);
            assert!(bytes.iter().all(|&q| q != -128), "{bytes:?}");
            let sum: i32 = bytes.iter().map(|&q| i32::from(q)).sum();
            assert_eq!(sum, 4 * v.clamp(-most, most), "{v} in {n} copies");
        }
    }
}

#[test]
fn a_scale_for_each_row_saturates_nothing() {
    let flat = flat(172, None);
    let p = params(&flat, 3);
    let n_words = flatten_rows::row_words(p.blocks, p.extra_blocks) as usize;
    let mut x = random(7, 3 * 172);
    (x[3], x[172 + 86], x[400]) = (55.0, -9000.0, 0.0);
    let mut y = vec![0; 3 * n_words];
    reference::flatten_rows(&p, &x, &[], &flat.table(), &mut y);
    let table = flat.table();
    for (x, y) in x.chunks(172).zip(y.chunks(n_words)) {
        let scale = f64::from(f32::from_bits(y[n_words - 1]));
        let bytes: &[i8] = bytemuck::cast_slice(&y[..n_words - 1]);
        for (column, &x) in x.iter().enumerate() {
            let copies = (32 * p.blocks as usize..table.len())
                .filter(|&i| table[i] & 0xff_ffff == column as u32);
            let all: i32 = copies.chain([column]).map(|i| i32::from(bytes[i])).sum();
            let off = (f64::from(all) * scale - f64::from(x)).abs();
            assert!(off <= 0.5001 * scale, "column {column} of {x} is {off} off");
        }
    }
}

#[test]
fn matmul_flat_gives_the_bits_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::Q8_0, DType::Q4_0] {
        for (rows, cols, outs) in [(5, 32, 2), (31, 36, 33), (33, 172, 34), (65, 576, 250)] {
            for copies in [false, true] {
                for program in gpu.programs(&call(dtype, Output::Plain, rows, cols, outs, copies)) {
                    matmul_case(
                        gpu,
                        &program,
                        dtype,
                        Output::Plain,
                        [rows, cols, outs],
                        copies,
                    )
                    .unwrap_or_else(|e| panic!("{program} {rows} {cols} {outs}: {e}"));
                }
            }
        }
    }
}

#[test]
fn matmul_flat_does_what_stands_behind_it() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::Q8_0, DType::Q4_0] {
        for output in [Output::Add, Output::Gated] {
            for (rows, cols, outs) in [(5, 36, 2), (65, 576, 66)] {
                let program = &gpu.programs(&call(dtype, output, rows, cols, outs, true))[0];
                matmul_case(gpu, program, dtype, output, [rows, cols, outs], true)
                    .unwrap_or_else(|e| panic!("{program} {rows} {cols} {outs}: {e}"));
            }
        }
    }
}

#[test]
fn a_wrong_matmul_flat_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, from, to) in [
        (
            DType::Q8_0,
            "flat_blocks(arm); block",
            "params.blocks; block",
        ),
        (DType::Q8_0, "dot4I8Packed(a, b.w)", "dot4I8Packed(a, b.z)"),
        (DType::Q8_0, "word < 8u", "word < 7u"),
        (
            DType::Q8_0,
            "row_words(row + 1u) - 1u",
            "row_words(1u) - 1u",
        ),
        (DType::Q8_0, "half * 4u + i] & vec4", "i] & vec4"),
        (DType::Q8_0, "column % 16u / 4u]", "column % 4u]"),
        (DType::Q8_0, "column % 32u / 16u", "0u"),
        (DType::Q8_0, "columns.z) << 16u", "columns.y) << 16u"),
        (DType::Q8_0, "* 8u + 1u);", "* 8u);"),
        (DType::Q4_0, "- vec4(0x08080808u)", ""),
        (DType::Q4_0, "out + i), 0u)", "out), 0u)"),
    ] {
        let program = &gpu.programs(&call(dtype, Output::Plain, 33, 172, 34, true))[0];
        let broken = program.broken(from, to);
        let broken = matmul_case(gpu, &broken, dtype, Output::Plain, [33, 172, 34], true);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

fn flatten_case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    flat: &Flat,
    rows: u32,
    has_norm: bool,
) -> Result<(), String> {
    let p = flatten_rows::Params {
        has_norm: has_norm.into(),
        ..params(flat, rows)
    };
    let mut x: Vec<f32> = random(1, (rows * p.cols) as usize)
        .iter()
        .map(|x| 3.0 * x)
        .collect();
    // Far beyond what one column holds, and beyond what all copies do.
    (x[0], x[p.cols as usize / 2]) = (-40.0, 1e6);
    let gains = random(2, if has_norm { p.cols as usize } else { 4 });
    let table = flat.table();
    let n_words = flatten_rows::row_words(p.blocks, p.extra_blocks) as usize;
    let n = rows as usize * n_words;
    let (y, mut want) = (vec![DIRT; n], vec![DIRT; n]);
    let args = [
        Arg::In(1, words(&x)),
        Arg::In(2, words(&gains)),
        Arg::In(3, &table),
        Arg::Out(4, &y),
    ];
    let call = Call::FlattenRows(p);
    reference::flatten_rows(&p, &x, &gains, &table, &mut want);
    for program in gpu.programs(&call) {
        let got = gpu.run(&change(&program), &call, &args)?;
        let is_exact = !has_norm && flat.scale.is_some();
        for (row, (got, want)) in got[0].chunks(n_words).zip(want.chunks(n_words)).enumerate() {
            same_row(got, want, is_exact).map_err(|e| format!("row {row}: {e}"))?;
        }
    }
    Ok(())
}

/// Where x is normed or has a scale of its own, a device may round these another way, and then a value that stands
/// between two integers; a copy that changes with it may be any of those of its column.
fn same_row(got: &[u32], want: &[u32], is_exact: bool) -> Result<(), String> {
    if is_exact {
        return match got.iter().zip(want).position(|(got, want)| got != want) {
            Some(at) => Err(format!(
                "word {at} is {:x}, expected {:x}",
                got[at], want[at]
            )),
            None => Ok(()),
        };
    }
    let n = got.len() - 1;
    let [g, w] = [got[n], want[n]].map(f32::from_bits);
    if (g - w).abs() > 1e-5 * w || g.is_nan() {
        return Err(format!("scale is {g}, expected {w}"));
    }
    let (got, want): (&[i8], &[i8]) = (
        bytemuck::cast_slice(&got[..n]),
        bytemuck::cast_slice(&want[..n]),
    );
    let off: u32 = got
        .iter()
        .zip(want)
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    let most = got.iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max();
    // A value of 250 copies is known to a few units, of which none but the last copy has any.
    if most > Some(8) || off as usize > 8 + got.len() / 100 {
        return Err(format!("{off} units off, at most {most:?}"));
    }
    Ok(())
}

fn plain(cols: u32, copies: bool) -> Flat {
    match copies {
        true => flat(cols, Some(1.0 / 64.0)),
        false => Flat {
            copies: vec![1; cols as usize],
            scale: Some(1.0 / 64.0),
        },
    }
}

fn call(dtype: DType, output: Output, rows: u32, cols: u32, outs: u32, copies: bool) -> Call {
    let flat = plain(cols, copies);
    let is_plain = output == Output::Plain;
    let params = Params {
        rows,
        cols,
        blocks: (padded_cols(dtype, cols as usize) / 32) as u32,
        extra_blocks: flat.extra_blocks(),
        outs,
        half: outs / 2,
        y_first: 3,
        y_cols: outs + 5,
        has_bias: (!is_plain).into(),
        ..Params::default()
    };
    let form = Form {
        dtype,
        input: Input::Flat,
        output,
        arm: Arm::All,
    };
    Call::MatMul(form, params)
}

/// Scales of rows of x are powers of two and products stay below 2^24, so that all of them have one rounding: without
/// anything behind them the bits must be the reference's.
fn matmul_case(
    gpu: &Gpu,
    program: &Program,
    dtype: DType,
    output: Output,
    [rows, cols, outs]: [u32; 3],
    copies: bool,
) -> Result<(), String> {
    let call = call(dtype, output, rows, cols, outs, copies);
    let Call::MatMul(form, p) = call else {
        unreachable!("it is a product")
    };
    let flat = plain(cols, copies);
    let table = flat.table();
    let flatten = params(&flat, rows);
    let n_words = flatten_rows::row_words(flatten.blocks, flatten.extra_blocks) as usize;
    let mut x = vec![0; rows as usize * n_words];
    let values: Vec<f32> = random(1, (rows * cols) as usize)
        .iter()
        .map(|x| 4.0 * x)
        .collect();
    reference::flatten_rows(&flatten, &values, &[], &table, &mut x);
    for (row, x) in x.chunks_exact_mut(n_words).enumerate() {
        x[n_words - 1] = [0.25f32, 0.5, 2.0][row % 3].to_bits();
    }
    let most = if dtype == DType::Q4_0 { 7.9 } else { 127.0 };
    let width = cols.next_multiple_of(32) as usize;
    let mut bytes = vec![];
    for (row, values) in random(2, outs as usize * width)
        .chunks_exact(width)
        .enumerate()
    {
        let q: Vec<i8> = (0..width)
            .map(|c| {
                if c < cols as usize {
                    (most * values[c]) as i8
                } else {
                    0
                }
            })
            .collect();
        let scale = f16::from_f32(0.001 * (1 + row % 7) as f32);
        write_row(dtype, scale, &q, &mut bytes);
    }
    let weights = words_of_rows(dtype, &bytes, outs as usize, cols as usize);
    let bias = random(3, if p.has_bias != 0 { outs as usize } else { 1 });
    let residual = random(6, (p.rows * p.y_cols) as usize);
    let (y, mut want) = dirt((p.rows * p.y_cols) as usize);
    let mut args = vec![
        Arg::In(1, &weights.q),
        Arg::In(2, &weights.s),
        Arg::In(3, &x),
        Arg::In(4, words(&bias)),
        Arg::In(5, &table),
    ];
    if output == Output::Add {
        args.push(Arg::In(6, words(&residual)));
    }
    args.push(Arg::Out(8, &y));
    let got = gpu.run(program, &call, &args)?;
    let inputs = reference::Inputs {
        x: bytemuck::cast_slice(&x),
        bias: &bias,
        gains: &[],
        table: &table,
        residual: &residual,
        routes: &[],
    };
    reference::linear(form, &p, weights.packed(), inputs, &mut want, &mut []);
    let is_exact = output == Output::Plain;
    check(&got[0], &want, if is_exact { 0.0 } else { SUMS })
}
