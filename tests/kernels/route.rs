use crate::common::random;
use crate::gpu::{Arg, Gpu, Program, gpu};
use crate::{PAD, expect_caught, row, words};
use deputy::kernels::paths::N_DENSE;
use deputy::kernels::route::{BY_LIST, BY_ROUTER, BY_SHARES, Params, Settings, WORDS, branches};
use deputy::kernels::{Call, PADDING, Row};
use deputy::reference;

const N_CTX: u32 = 90;
const N_LAYERS: usize = 3;

fn params(rows: &[Row], places: bool) -> Params {
    Params {
        rows: rows.len() as u32,
        cols: 100,
        n_ctx: N_CTX,
        layer: 2,
        dense_tokens: 2,
        silu: 0,
        has_low_attention: 1,
        has_low_ffn: 1,
        all_dense: 0,
        places: places.into(),
        eps: 2.0,
        pad0: 0,
    }
}

fn by(mode: u32) -> Settings {
    Settings {
        mode,
        seed: 5,
        attention_offset: 0.3,
        ffn_offset: -0.2,
        attention_low: 1 << 31,
        ffn_low: 1 << 30,
        ffn_skip: 3 << 30,
        pad0: 0,
    }
}

/// Steps: one row, rows of two sequences, a sequence's beginning, padding, more rows than a workgroup has invocations.
fn steps() -> Vec<Vec<Row>> {
    let mut mixed: Vec<Row> = (0..9).map(|i| row(i % 2, 40 + i / 2)).collect();
    mixed.extend([PAD; 3]);
    vec![
        vec![row(1, 7)],
        vec![row(0, 0)],
        vec![row(0, 1), row(1, 3), row(1, 4), PAD],
        (0..8).map(|i| row(1, i)).collect(),
        mixed,
        (0..80).map(|i| row(0, 3 + i)).collect(),
    ]
}

#[test]
fn route_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for rows in steps() {
        for places in [true, false] {
            for mode in [BY_ROUTER, BY_LIST, BY_SHARES] {
                for (low_attention, low_ffn, all_dense, silu) in
                    [(1, 1, 0, 0), (0, 1, 0, 1), (1, 0, 1, 1)]
                {
                    let p = Params {
                        has_low_attention: low_attention,
                        has_low_ffn: low_ffn,
                        all_dense,
                        silu,
                        ..params(&rows, places)
                    };
                    for program in gpu.programs(&Call::Route(p)) {
                        case(gpu, &program, Call::Route, &p, &by(mode), &rows)
                            .unwrap_or_else(|e| panic!("{program} {p:?} mode {mode}: {e}"));
                    }
                }
            }
        }
    }
}

#[test]
fn place_rows_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for rows in steps() {
        let p = params(&rows, false);
        for program in gpu.programs(&Call::PlaceRows(p)) {
            case(gpu, &program, Call::PlaceRows, &p, &by(BY_ROUTER), &rows)
                .unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
        }
    }
}

/// What the lists and counts are for: every real row once, by branch; a count that goes on from position to position.
#[test]
fn rows_are_placed_by_their_branches() {
    let rows = &steps()[4];
    let p = params(rows, false);
    let mut routes: Vec<u32> = rows.iter().enumerate().flat_map(decided).collect();
    let mut paths: Vec<u32> = (0..2 * N_CTX).map(|i| i % N_CTX / 3).collect();
    reference::place_rows(&p, rows, &mut routes, &mut paths);
    let words: Vec<&[u32]> = routes.chunks_exact(WORDS as usize).collect();
    let n_real = rows.iter().filter(|row| row.position != PADDING).count();
    for (list, shift, n_branches) in [(1, 0, 2), (2, 2, 3)] {
        let listed: Vec<u32> = words[..n_real].iter().map(|words| words[list]).collect();
        let kinds: Vec<u32> = listed
            .iter()
            .map(|&r| words[r as usize][0] >> shift & 3)
            .collect();
        assert!(kinds.is_sorted(), "{kinds:?}");
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n_real as u32).collect::<Vec<_>>());
        for branch in 0..n_branches {
            let n = kinds.iter().filter(|&&kind| kind == branch).count() as u32;
            assert_eq!(words[shift + branch as usize][3], n, "branch {branch}");
        }
    }
    for (r, row) in rows.iter().enumerate().take(n_real) {
        let at = (row.sequence * N_CTX + row.position) as usize;
        let (attention, ffn) = branches(paths[at]);
        assert_eq!(attention | ffn << 2, words[r][0]);
        let before = paths[at - 1] & N_DENSE;
        assert_eq!(paths[at] & N_DENSE, before + u32::from(attention == 0));
    }
}

#[test]
fn shares_are_drawn_as_often_as_asked() {
    let rows: Vec<Row> = (0..80).map(|i| row(0, i)).collect();
    let p = params(&rows, false);
    let (mut low, mut ffn_low, mut skipped) = (0, 0, 0);
    for seed in 0..100 {
        let settings = Settings {
            seed,
            ..by(BY_SHARES)
        };
        let (routes, _) = reference_run(&p, &settings, &rows);
        for words in routes.chunks_exact(WORDS as usize) {
            low += u32::from(words[0] & 3 == 1);
            ffn_low += u32::from(words[0] >> 2 == 1);
            skipped += u32::from(words[0] >> 2 == 2);
        }
    }
    for (n, share) in [(low, 0.5), (ffn_low, 0.25), (skipped, 0.5)] {
        let got = f64::from(n) / 8000.0;
        // Four standard deviations of 8000 draws.
        assert!((got - share).abs() < 0.023, "{got} for {share}");
    }
}

#[test]
fn a_wrong_route_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (mode, from, to) in [
        (BY_ROUTER, "+ params.eps", ""),
        (BY_ROUTER, "* gains[quad]", ""),
        (BY_ROUTER, "v / (1.0 + exp(-v))", "v"),
        (
            BY_ROUTER,
            "logits.x + bitcast<f32>(settings[2])",
            "logits.x",
        ),
        (
            BY_ROUTER,
            "logits.z + bitcast<f32>(settings[3])",
            "logits.z",
        ),
        (BY_ROUTER, "(4u * stride", "(3u * stride"),
        (BY_ROUTER, "+ bias[4]", ""),
        (BY_ROUTER, "row.position < params.dense_tokens", "false"),
        (BY_LIST, "8u + params.layer", "8u"),
        (BY_SHARES, "settings[1], params.layer", "settings[1], 0u"),
        (BY_SHARES, "bits.y < settings[5]", "bits.x < settings[5]"),
        (BY_SHARES, "params.has_low_ffn == 0u;", "false;"),
        (BY_SHARES, "i <= r; i", "i < r; i"),
        (BY_SHARES, "other.x == mine.x", "true"),
        (BY_SHARES, "paths[sequence + first - 1u] & DENSE_MASK", "0u"),
        (BY_SHARES, "mine.w << 25u", "mine.w << 26u"),
        (
            BY_SHARES,
            "select(atomicLoad(&totals[0]), 0u",
            "select(0u, 0u",
        ),
        (
            BY_SHARES,
            "atomicStore(&totals[lid], 0u);",
            "atomicStore(&totals[lid], 1u);",
        ),
        (BY_SHARES, "if i < r {", "if i <= r {"),
    ] {
        let rows: Vec<Row> = (0..40).map(|i| row(i % 2, i / 2 + i % 2 * 5)).collect();
        let p = Params {
            silu: 1,
            has_low_ffn: u32::from(!from.starts_with("params.has_low_ffn")),
            ..params(&rows, true)
        };
        let program = &gpu.programs(&Call::Route(p))[0];
        case(gpu, program, Call::Route, &p, &by(mode), &rows).expect("unbroken");
        let from = from.trim_start_matches('(');
        let broken = program.broken(from, to.trim_start_matches('('));
        let broken = case(gpu, &broken, Call::Route, &p, &by(mode), &rows);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

/// Branches in turn, as the first half of the work leaves them.
fn decided((r, row): (usize, &Row)) -> [u32; 4] {
    let r = r as u32;
    let words = match row.position {
        PADDING => 0b1111,
        _ => ((r / 2) % 2) | ((r % 3) << 2),
    };
    [words, 0, 0, 0]
}

struct Inputs {
    x: Vec<f32>,
    gains: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    settings: Vec<u32>,
    paths: Vec<u32>,
}

fn inputs(p: &Params, settings: &Settings) -> Inputs {
    let mut words: Vec<u32> = bytemuck::cast_slice(&[*settings]).to_vec();
    words.extend([0b0000, 0b1001, 0b0101]);
    assert_eq!(words.len(), 8 + N_LAYERS);
    Inputs {
        x: random(1, (p.rows * p.cols) as usize),
        gains: random(2, p.cols as usize),
        weight: random(3, 5 * p.cols.next_multiple_of(32) as usize),
        bias: random(4, 5),
        settings: words,
        paths: (0..2 * N_CTX).map(|i| i % N_CTX / 3).collect(),
    }
}

fn reference_run(p: &Params, settings: &Settings, rows: &[Row]) -> (Vec<u32>, Vec<u32>) {
    let inputs = inputs(p, settings);
    let mut routes = vec![crate::gpu::DIRT; (p.rows * WORDS) as usize];
    let mut paths = inputs.paths.clone();
    let router = reference::Router {
        x: &inputs.x,
        gains: &inputs.gains,
        weight: &inputs.weight,
        bias: &inputs.bias,
    };
    reference::route(p, rows, router, &inputs.settings, &mut routes, &mut paths);
    (routes, paths)
}

fn case(
    gpu: &Gpu,
    program: &Program,
    call: fn(Params) -> Call,
    p: &Params,
    settings: &Settings,
    rows: &[Row],
) -> Result<(), String> {
    let i = inputs(p, settings);
    let decides = call(*p).kernel() == "route";
    let mut args = vec![Arg::In(1, words(rows))];
    let (got, want) = if decides {
        let routes = vec![crate::gpu::DIRT; (p.rows * WORDS) as usize];
        args.extend([
            Arg::In(2, words(&i.x)),
            Arg::In(3, words(&i.gains)),
            Arg::In(4, words(&i.weight)),
            Arg::In(5, words(&i.bias)),
            Arg::In(6, &i.settings),
            Arg::Out(7, &routes),
            Arg::Out(8, &i.paths),
        ]);
        (
            gpu.run(program, &call(*p), &args)?,
            reference_run(p, settings, rows),
        )
    } else {
        let routes: Vec<u32> = rows.iter().enumerate().flat_map(decided).collect();
        args.extend([Arg::Out(7, &routes), Arg::Out(8, &i.paths)]);
        let got = gpu.run(program, &call(*p), &args)?;
        let (mut routes, mut paths) = (routes.clone(), i.paths.clone());
        reference::place_rows(p, rows, &mut routes, &mut paths);
        (got, (routes, paths))
    };
    for (what, got, want) in [("routes", &got[0], &want.0), ("paths", &got[1], &want.1)] {
        if let Some(at) = (0..want.len()).find(|&at| got[at] != want[at]) {
            return Err(format!(
                "{what}[{at}] is {:#x}, expected {:#x}",
                got[at], want[at]
            ));
        }
    }
    Ok(())
}
