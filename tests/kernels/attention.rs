use crate::common::{random, random_words};
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{PAD, SUMS, check, dirt, row, words};
use deputy::kernels::attention::{Form, Params, SPLIT_KEYS, record_len};
use deputy::kernels::{CacheType, Call, PADDING, Row};
use deputy::reference::{self, merge};
use half::f16;

#[test]
fn attention_matches_the_reference_for_every_group() {
    let Some(gpu) = gpu() else { return };
    for (n_heads, n_kv_heads) in [(1, 1), (3, 3), (4, 2), (6, 2), (4, 1), (8, 1), (18, 2)] {
        let p = params(n_heads, n_kv_heads, 32, 40);
        for rows in [mixed(40), many(40)] {
            each(gpu, CacheType::F16, &p, &rows);
        }
    }
}

#[test]
fn attention_matches_the_reference_for_every_width() {
    let Some(gpu) = gpu() else { return };
    for head_dim in [4, 8, 64, 80, 96, 100, 128, 256, 512] {
        for rows in [mixed(40), many(40)] {
            each(gpu, CacheType::F32, &params(6, 2, head_dim, 40), &rows);
        }
    }
}

#[test]
fn attention_matches_the_reference_for_every_cache() {
    let Some(gpu) = gpu() else { return };
    for cache in CacheType::ALL {
        for head_dim in [64, 96] {
            for rows in [mixed(300), many(300)] {
                each(gpu, cache, &params(6, 2, head_dim, 300), &rows);
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_over_many_tiles() {
    let Some(gpu) = gpu() else { return };
    for position in [0, 1, 30, 31, 32, 63, 126, 127, 128, 129, 255, 256, 700] {
        let few = vec![row(0, position), row(1, position / 2)];
        let run = (0..=position.min(20)).map(|i| row(0, position - position.min(20) + i));
        for rows in [few, run.collect()] {
            each(gpu, CacheType::F16, &params(2, 1, 64, 701), &rows);
        }
    }
}

#[test]
fn attention_matches_the_reference_for_every_number_of_rows() {
    let Some(gpu) = gpu() else { return };
    for n_rows in [7, 8, 15, 16, 17, 31, 32, 33, 65] {
        let prompt: Vec<Row> = (0..n_rows).map(|i| row(1, 20 + i)).collect();
        // A batch: each row a sequence, and some sequences twice.
        let batch: Vec<Row> = (0..n_rows).map(|i| row(i * 7 % 3, 90 - i)).collect();
        for rows in [prompt, batch] {
            each(gpu, CacheType::F16, &params(2, 1, 64, 100), &rows);
        }
    }
}

#[test]
fn attention_matches_the_reference_in_splits() {
    let Some(gpu) = gpu() else { return };
    for n_splits in [2, 3, 7, 16] {
        for position in [0, SPLIT_KEYS - 1, SPLIT_KEYS, 3 * SPLIT_KEYS + 5, 900] {
            let rows = [row(0, position), PAD, row(1, position / 2)];
            let p = Params {
                n_splits,
                ..params(6, 2, 64, 901)
            };
            each(gpu, CacheType::F16, &p, &rows);
            let window = Params { window: 300, ..p };
            each(gpu, CacheType::F16, &window, &rows);
        }
    }
    // Other numbers of heads than a workgroup takes, and widths that end within a block.
    for (n_heads, n_kv_heads, head_dim) in [(10, 2, 80), (9, 1, 64)] {
        let p = Params {
            n_splits: 4,
            ..params(n_heads, n_kv_heads, head_dim, 600)
        };
        each(gpu, CacheType::F32, &p, &mixed(600));
    }
}

#[test]
fn attention_matches_the_reference_with_every_constant() {
    let Some(gpu) = gpu() else { return };
    for wg in [32, 64, 256] {
        let p = params(4, 2, 96, 300);
        for program in gpu.programs(&Call::Attention(Form::plain(CacheType::F16), p)) {
            if program.shader.kernel == "attention" {
                let program = program.with(&[("WG", wg)]);
                case(gpu, &program, CacheType::F16, &p, &mixed(300))
                    .unwrap_or_else(|e| panic!("{program}: {e}"));
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_in_a_window_and_with_capped_scores() {
    let Some(gpu) = gpu() else { return };
    for window in [1, 2, 31, 32, 33, 128, 129, 299, 300, 301, u32::MAX] {
        for softcap in [0.0, 0.5, 30.0] {
            let p = Params {
                window,
                softcap,
                ..params(2, 1, 64, 300)
            };
            for rows in [mixed(300), many(300)] {
                each(gpu, CacheType::F16, &p, &rows);
            }
        }
    }
}

#[test]
fn attention_matches_the_reference_for_peaked_scores() {
    let Some(gpu) = gpu() else { return };
    for scale in [2.0, 10.0] {
        let p = Params {
            scale,
            ..params(2, 1, 64, 300)
        };
        for rows in [mixed(300), many(300)] {
            each(gpu, CacheType::F16, &p, &rows);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        rows: 32,
        window: 70,
        ..params(2, 1, 64, 300)
    };
    let rows: Vec<Row> = (0..32).map(|i| row(2, 100 + i)).collect();
    // Then the run of the last rows begins elsewhere, and so do the keys that it sees.
    let mut others = rows.clone();
    others[..10].fill(row(0, 3));
    let same_bits = |program: &Program| {
        let results = |rows: &[Row]| {
            let (result, _) = run(gpu, program, CacheType::F16, &p, rows).expect("it runs");
            result[10 * 128..].to_vec()
        };
        results(&rows) == results(&others)
    };
    for program in gpu.programs(&Call::Attention(Form::plain(CacheType::F16), p)) {
        assert!(same_bits(&program), "{program}");
        if program.shader.kernel == "attention_tile" {
            let broken = program.broken("keys.x / KEYS * KEYS", "keys.x");
            assert!(!same_bits(&broken), "{program}: not caught");
        }
    }
}

/// Rows of three sequences and padding, the last position of the cache among them.
pub(crate) fn mixed(n_ctx: u32) -> Vec<Row> {
    vec![
        row(2, n_ctx - 1),
        row(0, 0),
        PAD,
        row(1, n_ctx / 2),
        row(1, n_ctx / 2 + 1),
        row(0, 1),
        PAD,
    ]
}

/// Forty rows: runs that end within tiles, rows alone, padding between and behind.
pub(crate) fn many(n_ctx: u32) -> Vec<Row> {
    let run = |sequence, from, n| (from..from + n).map(move |position| row(sequence, position));
    let mut rows: Vec<Row> = run(0, 0, 5).chain(run(1, n_ctx - 10, 10)).collect();
    rows.extend([PAD, row(1, 3), row(2, 4), row(2, 9)]);
    rows.extend(run(0, 5, 1).chain(run(2, n_ctx / 2, 17)));
    rows.extend([row(2, n_ctx - 1), PAD, PAD]);
    rows
}

pub(crate) fn params(n_heads: u32, n_kv_heads: u32, head_dim: u32, n_ctx: u32) -> Params {
    Params {
        n_heads,
        n_kv_heads,
        head_dim,
        n_ctx,
        window: u32::MAX,
        scale: 1.0 / (head_dim as f32).sqrt(),
        n_splits: 1,
        ..Default::default()
    }
}

fn each(gpu: &Gpu, cache: CacheType, p: &Params, rows: &[Row]) {
    let call = Call::Attention(
        Form::plain(cache),
        Params {
            rows: rows.len() as u32,
            ..*p
        },
    );
    for program in gpu.programs(&call) {
        case(gpu, &program, cache, p, rows)
            .unwrap_or_else(|e| panic!("{program} {p:?} {rows:?}: {e}"));
    }
}

pub(crate) fn case(
    gpu: &Gpu,
    program: &Program,
    cache: CacheType,
    p: &Params,
    rows: &[Row],
) -> Result<(), String> {
    let (got, want) = run(gpu, program, cache, p, rows)?;
    check(&got, &want, SUMS)?;
    if p.n_splits == 1 {
        return Ok(());
    }
    // Where there is no key, dirt must not be read.
    let got: Vec<f32> = got.iter().map(|&bits| f32::from_bits(bits)).collect();
    let merged = |records: &[f32]| {
        let n_heads = p.n_heads as usize;
        let mut y = vec![0.0; rows.len() * n_heads * p.head_dim as usize];
        let n_records = [p.n_splits as usize, 0];
        merge(rows.len(), n_records, n_heads, records, &mut y);
        y
    };
    let whole = Params { n_splits: 1, ..*p };
    let (_, want_whole) = inputs(cache, &whole, rows);
    crate::common::compare(&merged(&got), &want_whole, SUMS)?;
    crate::common::compare(&merged(&want), &want_whole, SUMS)
}

/// What the program and the twin make of the same inputs.
fn run(
    gpu: &Gpu,
    program: &Program,
    cache: CacheType,
    p: &Params,
    rows: &[Row],
) -> Result<(Vec<u32>, Vec<f32>), String> {
    let p = &Params {
        rows: rows.len() as u32,
        ..*p
    };
    let ([q, k, v], want) = inputs(cache, p, rows);
    let args = [
        Arg::In(1, bytemuck::cast_slice(rows)),
        Arg::In(2, &q),
        Arg::In(3, &k),
        Arg::In(4, &v),
        Arg::Out(7, &vec![DIRT; want.len()]),
    ];
    let got = gpu.run(program, &Call::Attention(Form::plain(cache), *p), &args)?;
    Ok((got.into_iter().next().expect("one output"), want))
}

/// The words of q, k and v, and what the twin makes of them.
fn inputs(cache: CacheType, p: &Params, rows: &[Row]) -> ([Vec<u32>; 3], Vec<f32>) {
    let p = &Params {
        rows: rows.len() as u32,
        ..*p
    };
    let n_heads = rows.len() * p.n_heads as usize;
    // Scores of a few units, so that the softmax is neither flat nor one key alone.
    let q: Vec<f32> = random(1, n_heads * p.head_dim as usize)
        .iter()
        .map(|x| 3.0 * x)
        .collect();
    let (k, v) = (cached(cache, p, rows, 2), cached(cache, p, rows, 3));
    let n = match p.n_splits {
        1 => n_heads * p.head_dim as usize,
        n_splits => n_heads * (n_splits * record_len(p.head_dim)) as usize,
    };
    let (_, mut want) = dirt(n);
    reference::attention(Form::plain(cache), p, rows, &q, &k, &v, &[], &mut want);
    ([words(&q).to_vec(), k, v], want)
}

/// Keys or values of three sequences; NaN at positions that no row sees.
pub(crate) fn cached(cache: CacheType, p: &Params, rows: &[Row], seed: u64) -> Vec<u32> {
    let n_heads = 3 * (p.n_ctx * p.n_kv_heads) as usize;
    let head_dim = p.head_dim as usize;
    let mut heads: Vec<Vec<u32>> = match cache {
        CacheType::F32 | CacheType::F16 => random(seed, n_heads * head_dim)
            .chunks_exact(head_dim)
            .map(|head| match cache {
                CacheType::F32 => words(head).to_vec(),
                _ => {
                    let halves: Vec<f16> = head.iter().map(|&x| f16::from_f32(x)).collect();
                    bytemuck::pod_collect_to_vec(&halves)
                }
            })
            .collect(),
        // Any integers will do; the last word of a block is its scale.
        CacheType::Q8 | CacheType::Q4 => {
            let n_block = cache.row_bytes(32) as usize / 4;
            let largest = if cache == CacheType::Q8 { 127.0 } else { 8.0 };
            let head_words = head_dim / 32 * n_block;
            let mut words: Vec<u32> = random_words(seed, n_heads * head_words)
                .map(|word| (word >> 32) as u32)
                .collect();
            let scales = random(seed + 1, words.len());
            for (block, scale) in words.chunks_exact_mut(n_block).zip(scales) {
                block[n_block - 1] = (scale / largest).to_bits();
            }
            words
                .chunks_exact(head_words)
                .map(<[u32]>::to_vec)
                .collect()
        }
    };
    for (at, head) in (0..).zip(&mut heads) {
        let (sequence, position) = (at / p.n_ctx / p.n_kv_heads, at % p.n_ctx);
        let sees = |row: &&Row| {
            row.position != PADDING
                && row.sequence == sequence
                && position <= row.position
                && row.position - position < p.window
        };
        if rows.iter().find(sees).is_none() {
            // NaN in f32 and in two f16.
            head.fill(0x7fc0_7e00);
        }
    }
    heads.concat()
}
