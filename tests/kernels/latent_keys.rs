use crate::arenas::random_paths;
use crate::common::{compare, random, random_words};
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::weights::Weights;
use crate::{PAD, SUMS, check, expect_caught, row, words};
use deputy::kernels::latent_keys::{Form, Params};
use deputy::kernels::{CacheType, Call};
use deputy::reference::{self, cache_read};
use deputy::tensor::DType;
use deputy::tensor::quant::padded_cols;
use half::f16;

const N_CTX: u32 = 90;

#[test]
fn latent_keys_match_the_reference_for_every_weight() {
    let Some(gpu) = gpu() else { return };
    for dtype in DType::ALL {
        let form = form(dtype, CacheType::F32, CacheType::F32);
        each(gpu, form, &params(dtype, 2, 64, 256));
    }
}

#[test]
fn latent_keys_match_the_reference_for_every_head_and_type() {
    let Some(gpu) = gpu() else { return };
    let dtype = DType::F32;
    for head_dim in [4, 80, 128, 512] {
        for (has_norm, has_bias) in [(0, 0), (1, 0), (0, 1)] {
            for interleaved in [0, 1] {
                let p = Params {
                    has_norm,
                    has_bias,
                    interleaved,
                    rotary_dim: if head_dim == 80 { 20 } else { head_dim },
                    ..params(dtype, 2, head_dim, 36)
                };
                each(gpu, form(dtype, CacheType::F32, CacheType::F32), &p);
            }
        }
    }
    // What is read and what is written know nothing of each other.
    let mut others = CacheType::ALL;
    others.reverse();
    for (latents, keys) in CacheType::ALL.into_iter().zip(others) {
        each(gpu, form(dtype, latents, keys), &params(dtype, 2, 96, 64));
    }
}

#[test]
fn wrong_latent_keys_are_caught() {
    let Some(gpu) = gpu() else { return };
    let form = form(DType::F32, CacheType::F32, CacheType::F32);
    let norm = Params {
        has_norm: 1,
        rotary_dim: 40,
        ..params(DType::F32, 2, 80, 36)
    };
    let bias = Params {
        has_bias: 1,
        has_norm: 0,
        ..norm
    };
    let pairs = Params {
        interleaved: 1,
        ..norm
    };
    for (p, a, b) in [
        (&norm, "row.sequence == sequence &&", ""),
        (&norm, "atomicMax(", "atomicMin("),
        (
            &norm,
            "if row.sequence == sequence && row",
            "if r == 0u && row.sequence == sequence && row",
        ),
        (&norm, "> slot {", ">= slot {"),
        (&norm, "params.w_first + element", "element"),
        (&norm, "squares, lane < n_quads", "squares, true"),
        (&norm, "+ params.eps", ""),
        (&norm, "first + slot < n", "true"),
        (&norm, "select(across, -across, is_a)", "across"),
        (&norm, "if i < params.rotary_dim", "if true"),
        (&bias, "params.bias_first + element", "element"),
        (&bias, "bias_first + element", "bias_first + 4u * mine"),
        (&pairs, "pair = i / 2u", "pair = i % n_pairs"),
    ] {
        let program = &gpu.programs(&Call::LatentKeys(form, *p))[0];
        case(gpu, program, form, p).unwrap_or_else(|e| panic!("unbroken {program}: {e}"));
        let broken = case(gpu, &program.broken(a, b), form, p);
        expect_caught(&program.to_string(), &format!("{a} -> {b}"), broken);
    }
}

fn form(dtype: DType, latents: CacheType, keys: CacheType) -> Form {
    Form {
        dtype,
        latents,
        keys,
    }
}

fn params(dtype: DType, n_kv_heads: u32, head_dim: u32, k_cols: u32) -> Params {
    Params {
        n_sequences: 3,
        n_kv_heads,
        head_dim,
        n_ctx: N_CTX - 7,
        n_positions: N_CTX,
        latent_cols: k_cols + 64,
        bias_first: 5,
        k_cols,
        blocks: (padded_cols(dtype, k_cols as usize) / 32) as u32,
        w_first: 3,
        rotary_dim: head_dim,
        // Large enough to be seen.
        eps: 0.1,
        ..Default::default()
    }
}

fn each(gpu: &Gpu, form: Form, p: &Params) {
    for program in gpu.programs(&Call::LatentKeys(form, *p)) {
        case(gpu, &program, form, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

/// Rows of two sequences out of three.
fn case(gpu: &Gpu, program: &Program, form: Form, p: &Params) -> Result<(), String> {
    let rows = [row(2, N_CTX - 1), row(0, 40), row(0, 12), PAD];
    let p = Params {
        rows: rows.len() as u32,
        ..*p
    };
    let paths = random_paths(3, N_CTX, 60);
    let n_rows = (3 * p.n_ctx) as usize;
    let c = latents(form.latents, n_rows * p.latent_cols as usize);
    let kv_dim = (p.n_kv_heads * p.head_dim) as usize;
    let w = Weights::random(
        form.dtype,
        p.w_first as usize + kv_dim,
        p.k_cols as usize,
        1,
    );
    let table = random(3, (N_CTX * p.rotary_dim) as usize);
    let vector = random(4, p.bias_first as usize + kv_dim);
    let k = vec![DIRT; n_rows * form.keys.row_bytes(kv_dim as u64) as usize / 4];
    let mut args = vec![Arg::In(1, &w.q)];
    if !w.s.is_empty() {
        args.push(Arg::In(2, &w.s));
    }
    args.extend([
        Arg::In(3, words(&rows)),
        Arg::In(4, &c),
        Arg::In(5, words(&table)),
        Arg::In(6, &paths),
        Arg::In(7, words(&vector)),
        Arg::Out(8, &k),
    ]);
    let got = gpu.run(program, &Call::LatentKeys(form, p), &args)?;
    let mut want = k.clone();
    let pairs = bytemuck::cast_slice(&table);
    let packed = w.packed();
    reference::latent_keys(
        form, &p, packed, &rows, &c, pairs, &paths, &vector, &mut want,
    );
    if form.keys == CacheType::F32 {
        return check(&got[0], bytemuck::cast_slice(&want), SUMS);
    }
    // Sums that nearly vanish may be stored further apart than neighbours: what counts is the whole.
    let max_nmse = if form.keys == CacheType::Q4 {
        1e-4
    } else {
        1e-6
    };
    let head_words = form.keys.row_bytes(p.head_dim.into()) as usize / 4;
    let heads = got[0].chunks(head_words).zip(want.chunks(head_words));
    for (got, want) in heads {
        if (got[0] == DIRT) != (want[0] == DIRT) {
            return Err("other rows were written".to_owned());
        }
        if want[0] == DIRT {
            continue;
        }
        let [got, want] = [got, want].map(|words| {
            let mut head = vec![0.0; p.head_dim as usize];
            cache_read(form.keys, words, 0, &mut head);
            head
        });
        compare(&got, &want, max_nmse)?;
    }
    Ok(())
}

/// So many elements of latent rows.
fn latents(cache: CacheType, n: usize) -> Vec<u32> {
    match cache {
        CacheType::F32 => words(&random(2, n)).to_vec(),
        CacheType::F16 => {
            let halves: Vec<f16> = random(2, n).into_iter().map(f16::from_f32).collect();
            bytemuck::pod_collect_to_vec(&halves)
        }
        // Any integers will do; the last word of a block is its scale.
        CacheType::Q8 | CacheType::Q4 => {
            let n_block = cache.row_bytes(32) as usize / 4;
            let mut words: Vec<u32> = random_words(2, n / 32 * n_block)
                .map(|word| (word >> 32) as u32)
                .collect();
            for (block, scale) in words.chunks_exact_mut(n_block).zip(random(5, n)) {
                block[n_block - 1] = (scale / 16.0).to_bits();
            }
            words
        }
    }
}
