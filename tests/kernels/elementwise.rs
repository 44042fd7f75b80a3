use crate::common::random;
use crate::gpu::DIRT;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::{ELEMENTWISE, check, dirt, expect_caught, words};
use deputy::kernels::{Call, add, gated_act, gather_rows, quantize_rows};
use deputy::reference;

/// Quads: 1, around a workgroup, a prime.
const QUADS: [u32; 9] = [1, 31, 32, 33, 64, 127, 128, 257, 1009];

/// With 32 invocations a workgroup, more than one dimension of workgroups has.
const MANY_QUADS: u32 = 32 * 65535 + 33;

#[test]
fn add_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for wg in [32, 64, 128, 256] {
        for quads in QUADS {
            add_case(gpu, |p| p.with(&[("WG", wg)]), quads)
                .unwrap_or_else(|e| panic!("add WG={wg} {quads} quads: {e}"));
        }
    }
    add_case(gpu, |p| p.with(&[("WG", 32)]), MANY_QUADS).expect("many quads");
}

#[test]
fn a_wrong_add_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (from, to) in [
        ("+ b[i];", "- b[i];"),
        ("i < params.quads", "i <= params.quads"),
        ("i < params.quads", "i + 1u < params.quads"),
        ("* WG + lid", "* 65u + lid"),
    ] {
        let broken = add_case(gpu, |p| p.broken(from, to), 257);
        expect_caught("add", &format!("{from} -> {to}"), broken);
    }
    let broken = add_case(
        gpu,
        |p| {
            p.with(&[("WG", 32)])
                .broken("wg.y * 65535u", "wg.y * 65536u")
        },
        MANY_QUADS,
    );
    expect_caught("add", "wg.y * 65536u", broken);
}

#[test]
fn gated_act_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for gelu in [false, true] {
        for wg in [32, 64, 128, 256] {
            for quads in QUADS.into_iter().chain([3 * 257]) {
                for range in [1.0, 8.0] {
                    gated_case(gpu, |p| p.with(&[("WG", wg)]), quads, gelu, range).unwrap_or_else(
                        |e| panic!("gated_act WG={wg} {quads} quads, gelu {gelu}, ±{range}: {e}"),
                    );
                }
            }
        }
        gated_case(gpu, |p| p.with(&[("WG", 32)]), MANY_QUADS, gelu, 3.0).expect("many quads");
    }
}

#[test]
fn gated_act_is_finite_far_from_zero() {
    let Some(gpu) = gpu() else { return };
    for gelu in [false, true] {
        for range in [100.0, 1e4, 1e9] {
            gated_case(gpu, Program::clone, 257, gelu, range)
                .unwrap_or_else(|e| panic!("gelu {gelu}, ±{range}: {e}"));
        }
    }
}

#[test]
fn a_wrong_gated_act_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (gelu, range, from, to) in [
        (false, 3.0, "1.0 + exp(", "1.001 + exp("),
        (false, 3.0, "x[gate + params.quads]", "x[gate]"),
        (false, 3.0, "i >= params.rows", "i > params.rows"),
        (false, 3.0, "* 2u * params.quads", "* params.quads"),
        (false, 3.0, "gelu != 0u", "gelu == 0u"),
        (true, 3.0, "0.044715 * g * g * g", "0.044715 * g * g"),
        (true, 3.0, "0.5 * g", "g"),
    ] {
        let broken = gated_case(gpu, |p| p.broken(from, to), 3 * 257, gelu, range);
        expect_caught("gated_act", &format!("{from} -> {to}"), broken);
    }
}

#[test]
fn quantize_rows_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (rows, cols) in [(1, 4), (3, 32), (2, 36), (5, 172), (33, 576), (2, 2304)] {
        quantize_case(gpu, Program::clone, rows, cols)
            .unwrap_or_else(|e| panic!("quantize_rows {rows} x {cols}: {e}"));
    }
}

#[test]
fn a_wrong_quantize_rows_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (from, to) in [
        ("abs(x[x_first + quad + i])", "x[x_first + quad + i]"),
        ("/ 127.0", "/ 126.0"),
        ("if i < n {", "if true {"),
        ("* inverse", ""),
        ("+ id.x) * 9u", "+ id.x) * 8u"),
    ] {
        let broken = quantize_case(gpu, |p| p.broken(from, to), 5, 172);
        expect_caught("quantize_rows", &format!("{from} -> {to}"), broken);
    }
}

#[test]
fn gather_rows_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for wg in [32, 64, 128, 256] {
        for cols in [4, 124, 128, 132, 576, 1028] {
            for out_rows in [&[0][..], &[6], &[6, 0, 3], &[2, 2, 5, 1, 0, 6, 4, 3]] {
                gather_case(gpu, |p| p.with(&[("WG", wg)]), cols, out_rows).unwrap_or_else(|e| {
                    panic!("gather_rows WG={wg} {cols} columns {out_rows:?}: {e}")
                });
            }
        }
    }
}

#[test]
fn a_wrong_gather_rows_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (from, to) in [
        ("out_rows[id.y]", "id.y"),
        ("id.x < n_quads", "id.x + 1u < n_quads"),
        ("y[id.y * n_quads + id.x]", "y[id.y * n_quads + id.x + 1u]"),
        ("if id.x < n_quads", "if id.x <= n_quads"),
    ] {
        let broken = gather_case(gpu, |p| p.broken(from, to), 132, &[6, 0, 3]);
        expect_caught("gather_rows", &format!("{from} -> {to}"), broken);
    }
}

fn add_case(gpu: &Gpu, change: impl Fn(&Program) -> Program, quads: u32) -> Result<(), String> {
    let p = add::Params {
        quads,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    };
    let n = 4 * quads as usize;
    let (a, b) = (random(1, n), random(2, n));
    let (y, mut want) = dirt(n);
    let args = [
        Arg::In(1, words(&a)),
        Arg::In(2, words(&b)),
        Arg::Out(3, &y),
    ];
    let call = Call::Add(p);
    let got = gpu.run(&change(&gpu.programs(&call)[0]), &call, &args)?;
    reference::add(&p, &a, &b, &mut want);
    check(&got[0], &want, 0.0)
}

/// Gate and up in ±range, the ends among them.
fn gated_case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    quads: u32,
    gelu: bool,
    range: f32,
) -> Result<(), String> {
    // One row, or several where that many quads are whole rows.
    let rows = if quads.is_multiple_of(257) { 257 } else { 1 };
    let p = gated_act::Params {
        rows,
        quads: quads / rows,
        gelu: u32::from(gelu),
        pad0: 0,
    };
    let n = 4 * quads as usize;
    let mut x: Vec<f32> = random(1, 2 * n).iter().map(|x| x * range).collect();
    x[..3].copy_from_slice(&[-range, range, 0.0]);
    let (y, mut want) = dirt(n);
    let args = [Arg::In(1, words(&x)), Arg::Out(2, &y)];
    let call = Call::GatedAct(p);
    let got = gpu.run(&change(&gpu.programs(&call)[0]), &call, &args)?;
    reference::gated_act(&p, &x, &mut want);
    check(&got[0], &want, ELEMENTWISE)
}

/// The largest value of a block may be negative, and a block may be zero.
fn quantize_case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    rows: u32,
    cols: u32,
) -> Result<(), String> {
    let p = quantize_rows::Params {
        rows,
        cols,
        blocks: cols.div_ceil(32),
        pad0: 0,
    };
    let mut x = random(1, (rows * cols) as usize);
    x[0] = -1.5;
    if cols > 100 {
        x[64..96].fill(0.0);
    }
    let n = (rows * p.blocks * quantize_rows::BLOCK_WORDS) as usize;
    let (y, mut want) = (vec![DIRT; n], vec![DIRT; n]);
    let args = [Arg::In(1, words(&x)), Arg::Out(2, &y)];
    let call = Call::QuantizeRows(p);
    let got = gpu.run(&change(&gpu.programs(&call)[0]), &call, &args)?;
    reference::quantize_rows(&p, &x, &mut want);
    // A device may round the scale another way, and then a value that stands between two integers.
    let block = quantize_rows::BLOCK_WORDS as usize;
    for (at, (got, want)) in got[0].chunks(block).zip(want.chunks(block)).enumerate() {
        let [g, w] = [got[8], want[8]].map(f32::from_bits);
        if (g - w).abs() > 1e-6 * w {
            return Err(format!("scale of block {at} is {g}, expected {w}"));
        }
        let bytes = |words: &[u32]| -> Vec<i8> { bytemuck::cast_slice(&words[..8]).to_vec() };
        let off = |(a, b): (&i8, &i8)| a.abs_diff(*b);
        let n_off = bytes(got).iter().zip(&bytes(want)).map(off).max();
        if n_off > Some(1) {
            return Err(format!("block {at} is {got:x?}, expected {want:x?}"));
        }
    }
    Ok(())
}

fn gather_case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    cols: u32,
    out_rows: &[u32],
) -> Result<(), String> {
    let p = gather_rows::Params {
        n_out: out_rows.len() as u32,
        cols,
        pad0: 0,
        pad1: 0,
    };
    let x = random(1, 7 * cols as usize);
    let (y, mut want) = dirt(out_rows.len() * cols as usize);
    let args = [Arg::In(1, out_rows), Arg::In(2, words(&x)), Arg::Out(3, &y)];
    let call = Call::GatherRows(p);
    let got = gpu.run(&change(&gpu.programs(&call)[0]), &call, &args)?;
    reference::gather_rows(&p, out_rows, &x, &mut want);
    check(&got[0], &want, 0.0)
}
