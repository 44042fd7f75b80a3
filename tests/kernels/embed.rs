use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::weights::{Weights, cols_grid};
use crate::{ELEMENTWISE, PAD, check, dirt, expect_caught, row};
use deputy::kernels::{Call, Row, embed::Params};
use deputy::reference;
use deputy::tensor::{DType, quant::padded_cols};

const N_TOKENS: u32 = 23;
const N_CTX: u32 = 9;

#[test]
fn embed_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        for &cols in cols_grid(dtype) {
            for scale in [1.0, 22.627] {
                // The table in one part, in two, and in three with an empty end.
                for parts in [&[0][..], &[0, 11], &[0, 1, 22]] {
                    for wg in [32, 64, 128] {
                        let result =
                            case(gpu, |p| p.with(&[("WG", wg)]), dtype, cols, scale, parts);
                        result.unwrap_or_else(|e| {
                            panic!("embed_{dtype} WG={wg} {cols} columns, scale {scale}, parts {parts:?}: {e}")
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn a_wrong_embed_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (dtype, cols, from, to) in [
        (DType::F32, 172, "quad < n_quads", "quad < 8u"),
        (DType::F32, 172, "values[quad] * scale", "values[quad]"),
        (
            DType::F32,
            172,
            "select(params.scale, 0.0, padding)",
            "params.scale",
        ),
        (
            DType::F32,
            172,
            "row.sequence * params.n_ctx + row.position",
            "row.position",
        ),
        (
            DType::Q4_0,
            172,
            "token - params.first_token >= params.n_tokens",
            "token >= params.n_tokens",
        ),
        (
            DType::Q4_0,
            172,
            "decode_block(token - params.first_token",
            "decode_block(token",
        ),
        (
            DType::Q6K,
            512,
            "(4u * (octet % 2u))",
            "(2u * (octet % 2u))",
        ),
    ] {
        let parts = &[0, 11];
        case(gpu, Program::clone, dtype, cols, 3.0, parts).expect("unbroken");
        let broken = case(gpu, |p| p.broken(from, to), dtype, cols, 3.0, parts);
        expect_caught("embed", &format!("{from} -> {to}"), broken);
    }
}

/// `parts`: the first token of each part of the table.
fn case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    dtype: DType,
    cols: usize,
    scale: f32,
    parts: &[u32],
) -> Result<(), String> {
    let rows: Vec<Row> = vec![
        row(2, 0),
        row(0, 0),
        PAD,
        row(0, 1),
        row(1, N_CTX - 1),
        row(2, 3),
        PAD,
    ];
    // Every sequence has other tokens, the first and the last of the table and of each part among them.
    let ends = [0, N_TOKENS - 1, 10, 11, 22, 1];
    let tokens: Vec<u32> = (0..3 * N_CTX as usize)
        .map(|i| ends[(i * 5 + i / 7) % ends.len()])
        .collect();
    let (mut got, mut want) = dirt(rows.len() * cols);
    for (i, &first_token) in parts.iter().enumerate() {
        let p = Params {
            rows: rows.len() as u32,
            cols: cols as u32,
            blocks: (padded_cols(dtype, cols) / 32) as u32,
            n_ctx: N_CTX,
            first_token,
            n_tokens: parts.get(i + 1).unwrap_or(&N_TOKENS) - first_token,
            scale,
            pad0: 0,
        };
        let table = Weights::random(dtype, p.n_tokens as usize, cols, u64::from(first_token) + 1);
        let call = Call::Embed(dtype, p);
        for program in gpu.programs(&call) {
            let before = got.clone();
            let mut args = vec![
                Arg::In(1, &table.q),
                Arg::In(3, bytemuck::cast_slice(&rows)),
                Arg::In(4, &tokens),
                Arg::Out(5, &before),
            ];
            if !table.s.is_empty() {
                args.push(Arg::In(2, &table.s));
            }
            got = gpu.run(&change(&program), &call, &args)?.remove(0);
        }
        reference::embed(dtype, &p, table.packed(), &rows, &tokens, &mut want);
    }
    check(&got, &want, ELEMENTWISE)
}
