use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::{ELEMENTWISE, check, dirt, expect_caught, words};
use deputy::kernels::{Call, rms_norm::Params};
use deputy::reference;

#[test]
fn rms_norm_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (rows, cols) in [
        (1, 4),
        (1, 124),
        (2, 128),
        (3, 132),
        (5, 252),
        (2, 256),
        (1, 260),
        (33, 576),
        (2, 1028),
        (1, 4096),
    ] {
        for eps in [1e-5, 1e-6, 1e-2] {
            for wg in [32, 64, 128, 256] {
                each(gpu, &params(rows, cols, eps), wg);
            }
        }
    }
    // More rows than one dimension of workgroups has.
    each(gpu, &params(65535 + 66, 8, 1e-5), 64);
}

#[test]
fn a_wrong_rms_norm_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = params(65535 + 3, 256 + 4, 1e-5);
    for variant in 0..gpu.programs(&Call::RmsNorm(p)).len() {
        for (from, to) in [
            ("sum_sq += dot(v, v);", "sum_sq = dot(v, v);"),
            ("* weight[quad]", "* weight[0]"),
            ("+ params.eps", ""),
            ("/ f32(params.cols)", "/ f32(n_quads)"),
            ("wg.y * 65535u", "wg.y * 65536u"),
            ("lanes_sum(lid, WG, vec4(sum_sq)).x", "sum_sq"),
        ] {
            let program = &gpu.programs(&Call::RmsNorm(p))[variant];
            case(gpu, program, &p).expect("unbroken");
            let broken = case(gpu, &program.broken(from, to), &p);
            expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
}

fn params(rows: u32, cols: u32, eps: f32) -> Params {
    Params {
        rows,
        cols,
        eps,
        pad0: 0,
    }
}

fn each(gpu: &Gpu, p: &Params, wg: u32) {
    for program in gpu.programs(&Call::RmsNorm(*p)) {
        let program = program.with(&[("WG", wg)]);
        case(gpu, &program, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

fn case(gpu: &Gpu, program: &Program, p: &Params) -> Result<(), String> {
    let n = (p.rows * p.cols) as usize;
    // Small rows, where eps counts, then larger ones.
    let mut x = random(1, n);
    for (i, x) in x.iter_mut().enumerate() {
        *x *= if i < n / 2 { 0.003 } else { 4.0 };
    }
    let weight = random(2, p.cols as usize);
    let (y, mut want) = dirt(n);
    let args = [
        Arg::In(1, words(&x)),
        Arg::In(2, words(&weight)),
        Arg::Out(3, &y),
    ];
    let got = gpu.run(program, &Call::RmsNorm(*p), &args)?;
    reference::rms_norm(p, &x, &weight, &mut want);
    check(&got[0], &want, ELEMENTWISE)
}
