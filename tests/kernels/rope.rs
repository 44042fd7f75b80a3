use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::{ELEMENTWISE, PAD, check, dirt, expect_caught, row, words};
use deputy::kernels::{Call, Row, rope::Params};
use deputy::reference;

const N_CTX: u32 = 40;

#[test]
fn rope_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (head_dim, rotary_dim) in [(4, 4), (64, 64), (80, 32), (80, 80), (128, 128), (256, 64)] {
        for n_heads in [1, 2, 9] {
            for interleaved in [0, 1] {
                for wg in [32, 64, 128, 256] {
                    let p = params(n_heads, head_dim, rotary_dim, interleaved);
                    case(gpu, |p| p.with(&[("WG", wg)]), &p)
                        .unwrap_or_else(|e| panic!("rope WG={wg} {p:?}: {e}"));
                }
            }
        }
    }
}

#[test]
fn a_wrong_rope_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (interleaved, from, to) in [
        (
            0,
            "x[a] * angle.x - x[b] * angle.y",
            "x[a] * angle.x + x[b] * angle.y",
        ),
        (0, "var b = a + n_pairs", "var b = a + half"),
        (
            1,
            "head + 2u * pair;\n        b = a + 1u",
            "head + pair;\n        b = a + n_pairs",
        ),
        (
            0,
            "select(position, 0u, position == PADDING) * n_pairs",
            "id.y * n_pairs",
        ),
        (0, "y[at + 1u] = x[at + 1u];", ""),
    ] {
        let p = params(3, 80, 32, interleaved);
        let broken = case(gpu, |p| p.broken(from, to), &p);
        expect_caught("rope", &format!("{from} -> {to}"), broken);
    }
}

fn rows() -> Vec<Row> {
    vec![row(0, 0), row(3, N_CTX - 1), PAD, row(0, 1), row(1, 7), PAD]
}

fn params(n_heads: u32, head_dim: u32, rotary_dim: u32, interleaved: u32) -> Params {
    Params {
        rows: rows().len() as u32,
        n_heads,
        head_dim,
        rotary_dim,
        interleaved,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    }
}

fn case(gpu: &Gpu, change: impl Fn(&Program) -> Program, p: &Params) -> Result<(), String> {
    let n_pairs = p.rotary_dim / 2;
    let table: Vec<[f32; 2]> = (0..N_CTX * n_pairs)
        .map(|i| {
            let (position, pair) = (f64::from(i / n_pairs), f64::from(i % n_pairs));
            let angle = position * 10_000f64.powf(-2.0 * pair / f64::from(p.rotary_dim));
            [angle.cos() as f32, angle.sin() as f32]
        })
        .collect();
    let rows = rows();
    let n = rows.len() * (p.n_heads * p.head_dim) as usize;
    let x = random(1, n);
    let (y, mut want) = dirt(n);
    let args = [
        Arg::In(1, bytemuck::cast_slice(&rows)),
        Arg::In(2, bytemuck::cast_slice(&table)),
        Arg::In(3, words(&x)),
        Arg::Out(4, &y),
    ];
    let call = Call::Rope(*p);
    let got = gpu.run(&change(&gpu.programs(&call)[0]), &call, &args)?;
    reference::rope(p, &rows, &table, &x, &mut want);
    check(&got[0], &want, ELEMENTWISE)
}
