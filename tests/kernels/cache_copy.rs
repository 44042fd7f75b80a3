use crate::arenas::random_paths;
use crate::cache_write::check_cached;
use crate::common::random;
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{expect_caught, row, words};
use deputy::kernels::cache_copy::{Form, Params};
use deputy::kernels::{CacheType, Call, PADDING};
use deputy::reference;

const N_CTX: u32 = 40;

#[test]
fn cache_copy_matches_the_reference_for_every_type() {
    let Some(gpu) = gpu() else { return };
    for values in CacheType::ALL {
        for latents in CacheType::ALL {
            for (n_heads, k_cols, v_cols) in [(1, 0, 32), (4, 64, 96), (2, 512, 288)] {
                each(
                    gpu,
                    Form { values, latents },
                    &params(n_heads, 32, k_cols, v_cols),
                );
            }
        }
    }
    let form = Form {
        values: CacheType::F16,
        latents: CacheType::F32,
    };
    for (n_heads, head_dim, k_cols, v_cols) in [
        (1, 4, 0, 4),
        (3, 12, 4, 12),
        (3, 84, 0, 260),
        (257, 4, 20, 4),
        (1, 1028, 20, 4),
    ] {
        each(gpu, form, &params(n_heads, head_dim, k_cols, v_cols));
    }
}

#[test]
fn a_wrong_cache_copy_is_caught() {
    let Some(gpu) = gpu() else { return };
    let form = Form {
        values: CacheType::F32,
        latents: CacheType::F32,
    };
    let p = params(4, 128, 64, 96);
    let program = &gpu.programs(&Call::CacheCopy(form, p))[0];
    for (from, to) in [
        ("if row.position == PADDING {", "if false {"),
        (
            "params.v_first / 4u + mine - k_quads",
            "params.v_first / 4u + mine",
        ),
        ("mine >= k_quads", "mine > k_quads"),
        ("wg.y * (params.latents_cols / 4u)", "wg.y"),
        ("row.sequence * params.n_latent_ctx", "row.sequence"),
        ("head * params.n_ctx", "head"),
        ("+ i / head_quads", ""),
        ("+ i % head_quads", "+ i"),
        ("end - n_quads", "end - n_quads - 1u"),
        (
            "store(lid, slot * n_quads + i, quad, i < n_quads)",
            "store(lid, slot * n_quads + i, quad, i <= n_quads)",
        ),
        ("wg.x * WG + lid", "lid"),
        (
            "is_latent(row.sequence, row.position) {",
            "!is_latent(row.sequence, row.position) {",
        ),
    ] {
        let broken = case(gpu, &program.broken(from, to), form, &p);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}

fn params(n_heads: u32, head_dim: u32, k_cols: u32, v_cols: u32) -> Params {
    let kv_dim = n_heads * head_dim;
    Params {
        rows: 13,
        qkv_cols: kv_dim + 64,
        kv_dim,
        n_ctx: N_CTX - 3,
        n_latent_ctx: N_CTX - 5,
        n_positions: N_CTX,
        latents_cols: k_cols + v_cols + 44,
        k_first: 8,
        k_cols,
        v_first: k_cols + 32,
        v_cols,
        head_dim,
    }
}

fn each(gpu: &Gpu, form: Form, p: &Params) {
    for program in gpu.programs(&Call::CacheCopy(form, *p)) {
        case(gpu, &program, form, p).unwrap_or_else(|e| panic!("{program} {p:?}: {e}"));
    }
}

fn case(gpu: &Gpu, program: &Program, form: Form, p: &Params) -> Result<(), String> {
    let rows = [
        row(1, 0),
        row(1, 1),
        // Taken for positions, these would be the last ones of the sequences before.
        row(1, PADDING),
        row(2, PADDING),
        row(0, 17),
        row(0, 18),
        row(0, 19),
        row(2, N_CTX - 1),
        row(2, 5),
        row(2, 6),
        row(2, 7),
        row(1, 30),
        row(1, 31),
    ];
    let paths = random_paths(3, N_CTX, 50);
    let qkv = random(1, (p.rows * p.qkv_cols) as usize);
    let latents = random(2, (p.rows * p.latents_cols) as usize);
    let dirt = |n_rows: u32, cache: CacheType, cols: u32| {
        vec![DIRT; (3 * n_rows) as usize * cache.row_bytes(cols.into()) as usize / 4]
    };
    let c = dirt(p.n_latent_ctx, form.latents, p.k_cols + p.v_cols);
    let values = dirt(p.n_ctx, form.values, p.kv_dim);
    let args = [
        Arg::In(1, words(&rows)),
        Arg::In(2, words(&qkv)),
        Arg::In(3, words(&latents)),
        Arg::In(6, &paths),
        Arg::Out(8, &c),
        Arg::Out(9, &values),
    ];
    let got = gpu.run(program, &Call::CacheCopy(form, *p), &args)?;
    let (mut want_c, mut want) = (c.clone(), values.clone());
    reference::cache_copy(
        form,
        p,
        &rows,
        &qkv,
        &latents,
        &paths,
        &mut want_c,
        &mut want,
    );
    let cols = (p.k_cols + p.v_cols) as usize;
    check_cached(form.latents, cols, &got[0], &want_c).map_err(|e| format!("latents: {e}"))?;
    let cols = p.head_dim as usize;
    check_cached(form.values, cols, &got[1], &want).map_err(|e| format!("values: {e}"))
}
