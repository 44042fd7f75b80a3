//! Broken copies of the attention kernels.

use crate::attention::{case, many, mixed, params};
use crate::expect_caught;
use crate::gpu::{Gpu, gpu};
use deputy::kernels::attention::{Form, Params};
use deputy::kernels::{CacheType, Call, Row};

#[test]
fn a_wrong_attention_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        window: 300,
        softcap: 3.0,
        n_splits: 2,
        ..params(10, 2, 64, 400)
    };
    let rows = mixed(400);
    let caught = |from, to| is_caught(gpu, CacheType::F32, &p, &rows, None, from, to);
    for (from, to) in [
        ("row.position + 1u, 0u", "row.position, 0u"),
        (
            "select(row.position + 1u, 0u, row.position == PADDING)",
            "min(row.position + 1u, 2u)",
        ),
        ("min(end, params.window)", "end"),
        (
            "keys.x + split * n_each",
            "keys.x + split * SPLIT_KEYS * 2u",
        ),
        ("(n_keys + n_each - 1u) / n_each", "n_keys / n_each + 1u"),
        ("head * params.n_ctx", "head"),
        ("params.n_kv_heads + kv_head;", "params.n_kv_heads;"),
        ("if params.softcap > 0.0", "if params.softcap > 9.0"),
        ("sums[2] * by.z", "sums[2]"),
        ("value * weights.w", "value * weights.z"),
        ("select(QUADS, QUADS + 1u, has_records())", "QUADS"),
    ] {
        caught(from, to);
    }
    let caught = |from, to| is_caught(gpu, CacheType::F32, &p, &rows, Some("attention"), from, to);
    for (from, to) in [
        ("* params.scale", ""),
        ("wg.x / n_chunks", "wg.x % n_chunks"),
        ("first + i < n_heads", "first + i < 4u"),
        ("sums[f] * shrink + weight", "sums[f] + weight"),
        ("i < min(WG, split.y - tile)", "i < WG"),
        (
            "i += n_teams) {\n                let",
            "i += n_teams + 1u) {\n                let",
        ),
        (
            "exp(score - new_most), t < split.y",
            "exp(score - new_most), true",
        ),
        ("at < n_teams * QUADS", "at < QUADS"),
    ] {
        caught(from, to);
    }
    let caught = |from, to| {
        is_caught(
            gpu,
            CacheType::F32,
            &p,
            &rows,
            Some("attention_lane"),
            from,
            to,
        )
    };
    for (from, to) in [
        ("select(0.0, params.scale, quad", "select(0.0, 1.0, quad"),
        ("min(last, 3u)", "min(last, 2u)"),
        ("min(HEADS, last + 1u)", "HEADS"),
        ("sum * shrink + weight", "sum + weight"),
        ("exp(most - all_most)", "vec4(1.0)"),
        (
            "exp(score - new_most), tile + lid < split.y",
            "exp(score - new_most), true",
        ),
        (
            "shrunk(totals[5], shrink) + weighed(weight, quads[5])",
            "shrunk(totals[5], shrink) + weighed(weight, quads[4])",
        ),
        ("8u, scaled(total_1, factor)", "8u, scaled(total_0, factor)"),
    ] {
        caught(from, to);
    }
}

#[test]
fn a_wrong_attention_of_many_rows_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = Params {
        window: 100,
        softcap: 3.0,
        ..params(4, 2, 80, 300)
    };
    let rows = many(300);
    let caught = |from, to| {
        is_caught(
            gpu,
            CacheType::F32,
            &p,
            &rows,
            Some("attention_tile"),
            from,
            to,
        )
    };
    for (from, to) in [
        ("rows[end].sequence == rows[run].sequence", "true"),
        ("rows[end].position == rows[end - 1u].position + 1u", "true"),
        ("row < run || row >= run_end", "row >= run_end"),
        (
            "sum * shrink + weight_0 + weight_1",
            "sum * shrink + weight_0",
        ),
        ("tile + column + LANES, starts", "tile + column, starts"),
        (
            "(vec4(position) >= starts) &",
            "(vec4(position) >= vec4(0u)) &",
        ),
        (
            "query * params.scale, at < QUADS",
            "query * params.scale, true",
        ),
        (
            "key(kv_first + t * QUADS + min(at, QUADS - 1u))",
            "key(kv_first + t * QUADS + at)",
        ),
        (
            "clamp(tile + i / LANES, keys.x, keys.y - 1u)",
            "tile + i / LANES",
        ),
        ("if quad >= QUADS", "if quad > QUADS"),
        ("if row + i < params.rows", "if row + i <= params.rows"),
    ] {
        caught(from, to);
    }
}

#[test]
fn a_wrong_cache_is_caught() {
    let Some(gpu) = gpu() else { return };
    let p = params(2, 1, 64, 100);
    for (cache, from, to) in [
        (
            CacheType::F16,
            "unpack2x16float(quad.y)",
            "unpack2x16float(quad.x)",
        ),
        (CacheType::Q8, "k[block + 8u]", "k[block + 7u]"),
        (CacheType::Q8, "v[block + at % 8u]", "v[block]"),
        (
            CacheType::Q8,
            "unpack4xI8(v[block + 3u])",
            "unpack4xI8(v[block + 2u])",
        ),
        (CacheType::Q4, "- 8.0", "- 7.0"),
        (
            CacheType::Q4,
            "v[block + at % 8u / 2u] >> (at % 2u * 4u)",
            "v[block + at % 8u / 2u]",
        ),
        (CacheType::Q4, "words >> vec4(4u)", "words"),
    ] {
        // The mistake is in a text that several kernels join; each reads its own way.
        let in_blocks = ["words", "unpack4xI8("]
            .iter()
            .any(|text| from.starts_with(text));
        let reads = |kernel: &str| match kernel {
            "attention_lane" => in_blocks,
            "attention_tile" => !in_blocks,
            _ => from.starts_with("v["),
        };
        let rows = many(100);
        for program in gpu.programs(&Call::Attention(
            Form::plain(cache),
            Params { rows: 40, ..p },
        )) {
            if reads(program.shader.kernel) {
                let mut broken = program.clone();
                broken.source = broken.source.replace(from, to);
                let result = case(gpu, &broken, cache, &p, &rows);
                expect_caught(&program.to_string(), &format!("{from} -> {to}"), result);
            }
        }
    }
}

#[test]
fn a_wrong_cache_in_words_of_64_bits_is_caught() {
    let Some(gpu) = gpu() else { return };
    let (p, rows) = (params(4, 1, 64, 100), mixed(100));
    let call = Call::Attention(
        Form::plain(CacheType::F16),
        Params {
            rows: rows.len() as u32,
            ..p
        },
    );
    let mut programs = gpu.programs(&call);
    programs.retain(|program| program.shader.has_int64());
    if programs.is_empty() {
        eprintln!("skipped: the adapter has no integers of 64 bits");
    }
    for program in &programs {
        for (from, to) in [
            ("k[first + 1u]", "k[first]"),
            ("v[first + 1u]", "v[first]"),
            ("key_words(b.z)", "key_words(b.w)"),
            ("value_words(a.w)", "value_words(a.z)"),
        ] {
            let broken = case(gpu, &program.broken(from, to), CacheType::F16, &p, &rows);
            expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
        }
    }
}

/// Breaks one program of each kernel that a call may run on, or of one of them.
fn is_caught(
    gpu: &Gpu,
    cache: CacheType,
    p: &Params,
    rows: &[Row],
    kernel: Option<&str>,
    from: &str,
    to: &str,
) {
    let call = Call::Attention(
        Form::plain(cache),
        Params {
            rows: rows.len() as u32,
            ..*p
        },
    );
    let mut programs = gpu.programs(&call);
    programs.dedup_by_key(|program| program.shader.kernel);
    programs.retain(|program| kernel.is_none_or(|kernel| kernel == program.shader.kernel));
    assert!(!programs.is_empty(), "no program of {kernel:?}");
    for program in programs {
        case(gpu, &program, cache, p, rows).unwrap_or_else(|e| panic!("unbroken {program}: {e}"));
        let broken = case(gpu, &program.broken(from, to), cache, p, rows);
        expect_caught(&program.to_string(), &format!("{from} -> {to}"), broken);
    }
}
