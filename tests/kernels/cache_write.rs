use crate::arenas::{arena, random_paths, view};
use crate::common::{compare, random};
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{ELEMENTWISE, check, dirt, expect_caught, row, words};
use deputy::kernels::cache_write::{Form, Params};
use deputy::kernels::{CacheType, Call, PADDING, Row, Slots};
use deputy::reference::{self, cache_read};
use half::f16;

const N_CTX: u32 = 11;
const N_SEQUENCES: u32 = 3;

#[test]
fn cache_write_matches_the_reference_for_every_head() {
    let Some(gpu) = gpu() else { return };
    for cache in CacheType::ALL {
        for head_dim in [4, 32, 64, 80, 96, 100, 128, 256, 512] {
            if head_dim % cache.block_len() == 0 {
                for (n_heads, n_kv_heads) in [(1, 1), (9, 3), (4, 1)] {
                    for has_norm in [0, 1] {
                        let p = Params {
                            n_heads,
                            n_kv_heads,
                            has_norm,
                            ..params(head_dim, head_dim)
                        };
                        each(gpu, cache, &p);
                    }
                }
            }
        }
    }
}

#[test]
fn cache_write_matches_the_reference_for_every_rotation() {
    let Some(gpu) = gpu() else { return };
    for (head_dim, rotary_dim) in [(64, 64), (80, 32), (80, 20), (80, 2), (64, 0), (256, 64)] {
        for interleaved in [0, 1] {
            for has_norm in [0, 1] {
                let p = Params {
                    interleaved,
                    has_norm,
                    ..params(head_dim, rotary_dim)
                };
                each(gpu, CacheType::F32, &p);
            }
        }
    }
}

#[test]
fn a_wrong_cache_write_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        has_norm: 1,
        ..params(96, 40)
    };
    let interleaved = Params {
        interleaved: 1,
        ..p
    };
    let odd = Params {
        rotary_dim: 20,
        ..p
    };
    for (cache, p, from, to) in [
        (
            CacheType::F32,
            p,
            "NOWHERE, row.position == PADDING",
            "NOWHERE, false",
        ),
        (
            CacheType::F32,
            p,
            "select(row.position, 0u, row.position == PADDING)",
            "wg.y",
        ),
        (CacheType::F32, p, "kv_head) * params.n_ctx", "kv_head)"),
        (
            CacheType::F32,
            p,
            "select(n_rotated, params.n_heads, is_key)",
            "n_rotated",
        ),
        (
            CacheType::F32,
            p,
            "lid < n_quads && to",
            "lid <= n_quads && to",
        ),
        (
            CacheType::F32,
            p,
            "dot(quad, quad), lid < n_quads",
            "dot(quad, quad), true",
        ),
        (
            CacheType::F32,
            p,
            "select(k_gains[quad], q_gains[quad], is_query)",
            "q_gains[quad]",
        ),
        (CacheType::F32, p, "+ params.eps", ""),
        (
            CacheType::F32,
            p,
            "select(x, y, i < vec4(params.rotary_dim))",
            "y",
        ),
        (CacheType::F32, p, "select(sin, -sin, is_a)", "sin"),
        (CacheType::F32, p, "let at = others.x / 4u", "let at = mine"),
        (CacheType::F32, interleaved, "x.yxwz", "x.xyzw"),
        (CacheType::F32, interleaved, "min(i / 2u, ", "min(i, "),
        (CacheType::F32, odd, "others[j] % 4u", "j"),
        (
            CacheType::F16,
            p,
            "clamp(quad, vec4(-65504.0), vec4(65504.0))",
            "quad * 1.01",
        ),
        (
            CacheType::F16,
            p,
            "pack2x16float(x.zw)",
            "pack2x16float(x.xy)",
        ),
        (CacheType::Q8, p, "first + 8u", "first + 7u"),
        (CacheType::Q8, p, "largest / 127.0", "largest / 128.0"),
        (CacheType::Q4, p, "max(high, q4_quads[i])", "high"),
        (CacheType::Q4, p, "q4_quads[pair + 1u]", "q4_quads[pair]"),
    ] {
        let form = Form::plain(cache);
        for program in gpu.programs(&Call::CacheWrite(form, p)) {
            let broken = case(gpu, &program.broken(from, to), form, &p);
            expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
}

/// Keys by paths lie where those by positions are moved to.
#[test]
fn keys_by_paths_are_those_by_positions() {
    let Some(gpu) = gpu() else { return };
    let cache = CacheType::Q8;
    let paths = random_paths(N_SEQUENCES, N_CTX, 50);
    let rows: Vec<Row> = (0..N_SEQUENCES * N_CTX)
        .map(|i| row(i / N_CTX, i % N_CTX))
        .collect();
    let p = Params {
        rows: rows.len() as u32,
        n_positions: N_CTX,
        n_latent_ctx: N_CTX,
        k_first: N_SEQUENCES * N_CTX,
        ..params(64, 64)
    };
    let table = random(9, (N_CTX * p.rotary_dim) as usize);
    let qkv = random(1, rows.len() * 7 * 64);
    let row_words = cache.row_bytes(2 * 64) as usize / 4;
    let arenas = vec![0x7fc0_7e00; 2 * rows.len() * row_words];
    let run = |slots| {
        let call = Call::CacheWrite(Form { cache, slots }, p);
        let q = vec![DIRT; rows.len() * 3 * 64];
        let mut args = vec![
            Arg::In(1, words(&rows)),
            Arg::In(2, words(&table)),
            Arg::In(3, words(&qkv)),
            Arg::In(4, &[0; 4]),
            Arg::In(5, &[0; 4]),
        ];
        if slots == Slots::Paths {
            args.push(Arg::In(6, &paths));
        }
        args.extend([Arg::Out(7, &q), Arg::Out(8, &arenas)]);
        if slots == Slots::Positions {
            args.push(Arg::Out(9, &arenas));
        }
        let got = gpu.run(&gpu.programs(&call)[0], &call, &args);
        got.expect("it runs")
    };
    let (plain, routed) = (run(Slots::Positions), run(Slots::Paths));
    let all = &plain[1][..rows.len() * row_words];
    let dense = arena(all, view(&paths, N_CTX), false, 2, N_CTX);
    let latent = arena(all, view(&paths, N_CTX), true, 2, N_CTX);
    assert!(plain[0] == routed[0], "queries");
    assert!([dense, latent].concat() == routed[1], "keys");
}

#[test]
fn a_wrong_place_is_caught() {
    let Some(gpu) = gpu() else { return };
    let form = Form {
        cache: CacheType::F32,
        slots: Slots::Paths,
    };
    let dense = params(32, 32);
    let both = Params {
        n_latent_ctx: N_CTX,
        k_first: N_SEQUENCES * N_CTX,
        ..dense
    };
    for (p, from, to) in [
        (
            &dense,
            "NOWHERE, params.n_latent_ctx == 0u",
            "NOWHERE, false",
        ),
        (&dense, "& IS_LATENT) != 0u", "& IS_LATENT) == 0u"),
        (&both, "params.k_first * params.n_kv_heads + ", ""),
        (&both, "head * params.n_latent_ctx", "head"),
        (&both, "head * params.n_ctx + ", ""),
        (&both, "params.n_kv_heads + kv_head;", "params.n_kv_heads;"),
        (
            &both,
            "n_latent(row.sequence, row.position) - 1u",
            "n_latent(row.sequence, row.position)",
        ),
        (
            &both,
            "n_dense(row.sequence, row.position) - 1u",
            "row.position",
        ),
        (&both, "position + 1u - n_dense", "position - n_dense"),
    ] {
        let program = &gpu.programs(&Call::CacheWrite(form, *p))[0];
        case(gpu, program, form, p).unwrap_or_else(|e| panic!("unbroken {program}: {e}"));
        let broken = case(gpu, &program.broken(from, to), form, p);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

fn params(head_dim: u32, rotary_dim: u32) -> Params {
    Params {
        n_heads: 3,
        n_kv_heads: 2,
        head_dim,
        n_ctx: N_CTX,
        rotary_dim,
        // Large enough to be seen.
        eps: 0.1,
        ..Default::default()
    }
}

fn each(gpu: &Gpu, cache: CacheType, p: &Params) {
    for slots in [Slots::Positions, Slots::Paths] {
        let form = Form { cache, slots };
        for program in gpu.programs(&Call::CacheWrite(form, *p)) {
            case(gpu, &program, form, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
        }
    }
}

fn rows() -> Vec<Row> {
    // Taken for a position, padding of sequence 1 would be the last one of sequence 0.
    let pad = row(1, PADDING);
    vec![row(1, 0), pad, row(0, 3), row(0, 4), row(2, N_CTX - 1), pad]
}

fn case(gpu: &Gpu, program: &Program, form: Form, p: &Params) -> Result<(), String> {
    let Form { cache, slots } = form;
    let rows = rows();
    let p = Params {
        rows: rows.len() as u32,
        n_positions: N_CTX,
        ..*p
    };
    let paths = random_paths(N_SEQUENCES, N_CTX, 50);
    let n_pairs = p.rotary_dim / 2;
    let mut table: Vec<[f32; 2]> = (0..N_CTX * n_pairs)
        .map(|i| {
            let (position, pair) = (f64::from(i / n_pairs), f64::from(i % n_pairs));
            let angle = position * 10_000f64.powf(-2.0 * pair / f64::from(p.rotary_dim));
            [angle.cos() as f32, angle.sin() as f32]
        })
        .collect();
    table.push([0.0; 2]); // A table of nothing is bound all the same.
    let head_dim = p.head_dim as usize;
    let mut qkv = random(
        1,
        rows.len() * (p.n_heads + 2 * p.n_kv_heads) as usize * head_dim,
    );
    // Values of the first row: too large for f16, its least normal and subnormal numbers, zero.
    let first_value = (p.n_heads + p.n_kv_heads) as usize * head_dim;
    qkv[first_value..][..4].copy_from_slice(&[1e6, -70000.0, 6.104e-5, 0.0]);
    let gains = match p.has_norm {
        0 => [vec![0.0; 4], vec![0.0; 4]],
        _ => [random(2, head_dim), random(3, head_dim)],
    };
    let (q, mut want_q) = dirt(rows.len() * p.n_heads as usize * head_dim);
    let row_bytes = cache.row_bytes(u64::from(p.n_kv_heads * p.head_dim)) as usize;
    let n_rows = (N_SEQUENCES * N_CTX).max(p.k_first + N_SEQUENCES * p.n_latent_ctx);
    let before = vec![DIRT; n_rows as usize * row_bytes / 4];
    let mut args = vec![
        Arg::In(1, words(&rows)),
        Arg::In(2, bytemuck::cast_slice(&table)),
        Arg::In(3, words(&qkv)),
        Arg::In(4, words(&gains[0])),
        Arg::In(5, words(&gains[1])),
    ];
    if slots == Slots::Paths {
        args.push(Arg::In(6, &paths));
    }
    args.extend([Arg::Out(7, &q), Arg::Out(8, &before)]);
    if slots == Slots::Positions {
        args.push(Arg::Out(9, &before));
    }
    let mut got = gpu.run(program, &Call::CacheWrite(form, p), &args)?;
    if slots == Slots::Paths {
        got.push(before.clone()); // Values are another kernel's.
    }
    let (mut keys, mut values) = (before.clone(), before);
    reference::cache_write(
        form,
        &p,
        &rows,
        &table,
        &qkv,
        [&gains[0], &gains[1]],
        &paths,
        &mut want_q,
        &mut keys,
        &mut values,
    );
    check(&got[0], &want_q, ELEMENTWISE).map_err(|e| format!("queries: {e}"))?;
    for (what, got, want) in [("keys", &got[1], &keys), ("values", &got[2], &values)] {
        check_cached(cache, head_dim, got, want).map_err(|e| format!("{what}: {e}"))?;
    }
    Ok(())
}

/// The same words were written, and they mean the same but for what rounding explains.
pub(crate) fn check_cached(
    cache: CacheType,
    head_dim: usize,
    got: &[u32],
    want: &[u32],
) -> Result<(), String> {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        // WGSL lets the packing round to either neighbour.
        let equal = cache != CacheType::F16 || halves(got).zip(halves(want)).all(near);
        if !equal || (got == DIRT) != (want == DIRT) {
            return Err(format!("word {i} is {got:#x}, expected {want:#x}"));
        }
    }
    let max_nmse = match cache {
        CacheType::F32 => ELEMENTWISE,
        CacheType::F16 => 1e-6,
        // A value half way between two integers may be stored as either.
        CacheType::Q8 => 1e-6,
        CacheType::Q4 => 1e-4,
    };
    let head_words = cache.row_bytes(head_dim as u64) as usize / 4;
    let read = |words: &[u32]| {
        let mut head = vec![0.0; head_dim];
        cache_read(cache, words, 0, &mut head);
        head
    };
    for (got, want) in got.chunks(head_words).zip(want.chunks(head_words)) {
        if want[0] != DIRT {
            compare(&read(got), &read(want), max_nmse)?;
        }
    }
    Ok(())
}

fn halves(word: u32) -> impl Iterator<Item = u16> {
    [word as u16, (word >> 16) as u16].into_iter()
}

/// Equal, or neighbouring finite numbers of one sign.
fn near((got, want): (u16, u16)) -> bool {
    got == want || (f16::from_bits(got).is_finite() && got.abs_diff(want) == 1)
}
