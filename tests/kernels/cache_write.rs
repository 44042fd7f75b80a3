use crate::common::random;
use crate::gpu::{Arg, DIRT, Gpu, Program, gpu};
use crate::{expect_caught, row, words};
use deputy::kernels::{CacheType, Call, PADDING, cache_write::Params};
use deputy::reference;
use half::f16;

const N_CTX: u32 = 11;
const N_SEQUENCES: u32 = 3;

#[test]
fn cache_write_matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    for cache in [CacheType::F32, CacheType::F16] {
        for kv_dim in [4, 64, 124, 128, 260, 1024] {
            for wg in [32, 64, 128, 256] {
                case(gpu, |p| p.with(&[("WG", wg)]), cache, kv_dim).unwrap_or_else(|e| {
                    panic!("cache_write_{} WG={wg} kv_dim {kv_dim}: {e}", cache.name())
                });
            }
        }
    }
}

#[test]
fn a_wrong_cache_write_is_caught() {
    let Some(gpu) = gpu() else { return };
    for (cache, from, to) in [
        (CacheType::F32, " || row.position == PADDING", ""),
        (
            CacheType::F32,
            "row.sequence * params.n_ctx",
            "row.sequence",
        ),
        (CacheType::F32, "id.x >= n_quads", "id.x > n_quads"),
        (
            CacheType::F16,
            "clamp(values, vec4(-65504.0), vec4(65504.0))",
            "values * 1.01",
        ),
        (CacheType::F16, "pack2x16float(v.zw)", "pack2x16float(v.xy)"),
    ] {
        let broken = case(gpu, |p| p.broken(from, to), cache, 132);
        expect_caught("cache_write", &format!("{from} -> {to}"), broken);
    }
}

fn case(
    gpu: &Gpu,
    change: impl Fn(&Program) -> Program,
    cache: CacheType,
    kv_dim: u32,
) -> Result<(), String> {
    // Taken for a position, padding of sequence 1 would be the last one of sequence 0.
    let pad = row(1, PADDING);
    let rows = [row(1, 0), pad, row(0, 3), row(0, 4), row(2, N_CTX - 1), pad];
    let p = Params {
        rows: rows.len() as u32,
        kv_dim,
        n_ctx: N_CTX,
        pad0: 0,
    };
    let mut x = random(1, rows.len() * kv_dim as usize);
    // Too large for f16, its least normal and subnormal numbers, zero.
    x[..4].copy_from_slice(&[1e6, -70000.0, 6.104e-5, 0.0]);
    let n = (N_SEQUENCES * N_CTX * kv_dim) as usize * cache.n_bytes() / 4;
    let before = vec![DIRT; n];
    let mut want = before.clone();
    let args = [
        Arg::In(1, words(&rows)),
        Arg::In(2, words(&x)),
        Arg::Out(3, &before),
    ];
    let call = Call::CacheWrite(cache, p);
    let got = gpu
        .run(&change(&gpu.programs(&call)[0]), &call, &args)?
        .remove(0);
    reference::cache_write(cache, &p, &rows, &x, &mut want);
    for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
        let equal = match cache {
            CacheType::F32 => got == want,
            // WGSL lets the packing round to either neighbour.
            CacheType::F16 => halves(got)
                .zip(halves(want))
                .all(|(got, want)| near(got, want)),
        };
        if !equal || (got == DIRT) != (want == DIRT) {
            return Err(format!("word {i} is {got:#x}, expected {want:#x}"));
        }
    }
    Ok(())
}

fn halves(word: u32) -> impl Iterator<Item = u16> {
    [word as u16, (word >> 16) as u16].into_iter()
}

/// Equal, or neighbouring finite numbers of one sign.
fn near(got: u16, want: u16) -> bool {
    got == want || (f16::from_bits(got).is_finite() && got.abs_diff(want) == 1)
}
