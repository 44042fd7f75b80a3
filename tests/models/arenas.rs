//! A cache that keeps tokens of the low-rank attention as latents: the same results as one that does not, in less room.

use std::collections::BTreeMap;

use deputy::graph::{CacheMode, RouterKind};
use deputy::kernels::CacheType;
use deputy::{Branch, DeviceChoice, Engine, LoadOptions, Routes, Session, SessionOptions};

use crate::routed::{Factors, engine, routed};
use crate::support::*;

const N_CTX: u32 = 1024;

const SHARES: Routes = Routes::Shares {
    attention_low: 0.6,
    ffn_low: 0.2,
    ffn_skipped: 0.1,
    seed: 5,
};

/// A routed model with a longer context than the fixtures have, so that arenas must grow.
fn long(name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = routed(name, Factors::Quarter, RouterKind::Linear);
    let config = String::from_utf8(files["config.json"].clone()).unwrap();
    let longer = config.replace(
        "\"max_position_embeddings\": 128",
        "\"max_position_embeddings\": 1024",
    );
    assert_ne!(config, longer);
    files.insert("config.json".to_owned(), longer.into_bytes());
    files
}

fn in_mode(model: &BTreeMap<String, Vec<u8>>, device: DeviceChoice, mode: CacheMode) -> Engine {
    let options = LoadOptions {
        cache_mode: Some(mode),
        n_ctx: Some(N_CTX),
        ..exact(device)
    };
    engine(model, options)
}

fn start(engine: &Engine, n_sequences: u32) -> Session {
    let options = SessionOptions {
        n_sequences,
        ..Default::default()
    };
    let mut session = session(engine, options);
    session.set_routes(&SHARES).unwrap();
    session
}

/// Ids of a text without an end.
fn ids(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32)
        .map(|i| 20 + (i * i * 7 + i * 3 + seed * 11) % 40)
        .collect()
}

/// Appends tokens to a sequence; the logits of the last one.
fn append(session: &mut Session, sequence: u32, ids: &[u32]) -> Vec<f32> {
    let tokens: Vec<(u32, u32)> = ids.iter().map(|&id| (sequence, id)).collect();
    let last = [tokens.len() as u32 - 1];
    pollster::block_on(session.forward(&tokens, &last)).unwrap()
}

fn taken(session: &mut Session, sequence: u32) -> deputy::TakenRoutes {
    let taken = pollster::block_on(session.taken_routes(sequence)).unwrap();
    taken.unwrap()
}

/// DEPUTY.md, 4: on every architecture, in pieces and token by token, and beyond what the arenas begin with.
#[test]
fn every_mode_gives_the_same_logits() {
    for name in [
        "llama-gqa-tied",
        "llama3-rope",
        "mistral-window",
        "qwen2",
        "qwen3",
    ] {
        let model = long(name);
        let mut want: Option<Vec<Vec<f32>>> = None;
        for device in devices() {
            for mode in CacheMode::ALL {
                let engine = in_mode(&model, device.clone(), mode);
                let vocab = engine.config().vocab_size as usize;
                let mut session = start(&engine, 1);
                let mut got = vec![];
                for (seed, n) in [(0, 300), (1, 3), (2, 1), (3, 1), (4, 90), (5, 1)] {
                    got.push(append(&mut session, 0, &ids(seed, n)));
                }
                let want = want.get_or_insert(got.clone());
                for (i, (got, want)) in got.iter().zip(&*want).enumerate() {
                    compare(got, want, vocab, 1e-4).unwrap_or_else(|e| {
                        panic!("{name}, {mode:?}, {}, step {i}: {e}", engine.device())
                    });
                }
            }
        }
    }
}

/// Formats of fewer bits differ by their rounding, the modes not by more.
#[test]
fn every_format_is_kept_in_every_mode() {
    let model = long("llama-gqa-tied");
    for device in devices() {
        let run = |mode, cache| {
            let options = LoadOptions {
                cache_mode: Some(mode),
                cache: Some(cache),
                n_ctx: Some(N_CTX),
                ..exact(device.clone())
            };
            let mut session = start(&engine(&model, options), 1);
            append(&mut session, 0, &ids(0, 280));
            append(&mut session, 0, &ids(1, 1))
        };
        let want = run(CacheMode::Dense, CacheType::F32);
        for mode in CacheMode::ALL {
            for (cache, tolerance) in [(CacheType::F16, 2e-3), (CacheType::F32, 1e-4)] {
                let got = run(mode, cache);
                compare(&got, &want, want.len(), tolerance)
                    .unwrap_or_else(|e| panic!("{mode:?}, {cache:?}: {e}"));
            }
        }
    }
}

/// DEPUTY.md, 5: what is cut off and written again is as if it had been written at once, and other sequences stay.
#[test]
fn cut_sequences_are_as_if_written_at_once() {
    let model = long("qwen3");
    for device in devices() {
        for mode in [CacheMode::LatentV, CacheMode::Latent] {
            let engine = in_mode(&model, device.clone(), mode);
            let vocab = engine.config().vocab_size as usize;
            let other = ids(9, 150);
            let mut session = start(&engine, 3);
            append(&mut session, 2, &other[..120]);
            let mut known = vec![];
            for (seed, keep, n) in [
                (0, 0, 300),
                (1, 120, 250),
                (2, 369, 2),
                (3, 10, 420),
                (4, 429, 31),
            ] {
                session.truncate(1, keep);
                known.truncate(keep);
                known.extend(ids(seed, n));
                append(&mut session, 1, &known[keep..]);
            }
            let got = append(&mut session, 1, &[30]);
            let got_other = append(&mut session, 2, &other[120..]);
            let mut at_once = start(&engine, 3);
            known.push(30);
            let want = append(&mut at_once, 1, &known);
            let want_other = append(&mut at_once, 2, &other);
            compare(&got, &want, vocab, 1e-4).unwrap_or_else(|e| panic!("{mode:?}: {e}"));
            compare(&got_other, &want_other, vocab, 1e-4).unwrap();
            for sequence in [1, 2] {
                assert_eq!(taken(&mut session, sequence), taken(&mut at_once, sequence));
            }
            let used = |session: &mut Session| pollster::block_on(session.cache_use()).unwrap();
            let (got, want) = (used(&mut session), used(&mut at_once));
            assert_eq!(
                (got.n_dense, got.n_latent, got.bytes),
                (want.n_dense, want.n_latent, want.bytes)
            );
        }
    }
}

/// DEPUTY.md, 7: bytes are those of n_dense * 2 * d_kv * b + n_latent * (r_k + r_v) * b', by the routes taken.
#[test]
fn the_cache_takes_what_its_rows_take() {
    let model = long("llama-gqa-tied");
    for device in devices() {
        for mode in CacheMode::ALL {
            let options = LoadOptions {
                cache: Some(CacheType::F16),
                cache_mode: Some(mode),
                n_ctx: Some(N_CTX),
                ..exact(device.clone())
            };
            let engine = engine(&model, options);
            let config = engine.config();
            let d_kv = u64::from(config.n_kv_heads * config.head_dim);
            let rank = (d_kv / 4).next_multiple_of(4);
            for routes in [Routes::FULL, Routes::LOW, SHARES] {
                let mut session = start(&engine, 1);
                session.set_routes(&routes).unwrap();
                let before = pollster::block_on(session.cache_use()).unwrap();
                assert_eq!((before.bytes, before.dense_bytes), (0, 0));
                append(&mut session, 0, &ids(0, 700));
                let got = pollster::block_on(session.cache_use()).unwrap();
                let taken = taken(&mut session, 0);
                let low = taken.layers.iter().flatten();
                let low = low
                    .filter(|branches| branches.attention == Branch::Low)
                    .count() as u64;
                let all = 700 * u64::from(config.n_layers);
                let n_latent = if mode == CacheMode::Dense { 0 } else { low };
                let latent = match mode {
                    CacheMode::LatentV => d_kv + rank,
                    _ => 2 * rank,
                };
                let (dense, latent) = (4 * (all - n_latent) * d_kv, 2 * n_latent * latent);
                assert_eq!((got.n_latent, got.n_dense), (n_latent, all - n_latent));
                assert_eq!(
                    (got.bytes, got.latent_bytes, got.dense_bytes),
                    (dense + latent, latent, 4 * all * d_kv),
                    "{mode:?}, {routes:?}"
                );
                assert!(got.allocated >= got.bytes);
                if routes == Routes::LOW && mode == CacheMode::Latent {
                    assert_eq!(got.share(), rank as f64 / d_kv as f64, "{got:?}");
                }
                // Room for rows to come is bounded.
                if mode != CacheMode::Dense {
                    let row = 2 * 2 * d_kv * u64::from(config.n_layers);
                    assert!(got.allocated <= got.bytes + 1024 * row, "{got:?}");
                }
            }
        }
    }
}

fn save(session: &mut Session, sequence: u32) -> Vec<u8> {
    pollster::block_on(session.save(sequence)).unwrap()
}

/// A sequence goes on from a snapshot as it would have, in another session, on another device.
#[test]
fn a_saved_sequence_goes_on() {
    let model = long("llama-gqa-tied");
    for mode in CacheMode::ALL {
        let mut saved: Option<(Vec<u8>, Vec<f32>)> = None;
        for device in devices() {
            let engine = in_mode(&model, device.clone(), mode);
            let vocab = engine.config().vocab_size as usize;
            let mut session = start(&engine, 2);
            append(&mut session, 0, &ids(3, 40));
            append(&mut session, 1, &ids(0, 330));
            let bytes = save(&mut session, 1);
            let routes = taken(&mut session, 1);
            let want = append(&mut session, 1, &ids(1, 90));
            let (bytes, want) = saved.get_or_insert((bytes, want));

            let mut other = start(&engine, 3);
            append(&mut other, 1, &ids(4, 20));
            pollster::block_on(other.load(2, bytes)).unwrap();
            assert_eq!(other.tokens(2), ids(0, 330));
            assert_eq!(taken(&mut other, 2), routes);
            let got = append(&mut other, 2, &ids(1, 90));
            compare(&got, want, vocab, 1e-4).unwrap_or_else(|e| panic!("{mode:?}: {e}"));
            // In the place of one that is longer, and beside one that goes on.
            pollster::block_on(other.load(2, bytes)).unwrap();
            assert!(save(&mut other, 2) == *bytes, "{mode:?}: saved again");
            let mut alone = start(&engine, 1);
            append(&mut alone, 0, &ids(4, 20));
            let want = append(&mut alone, 0, &ids(5, 9));
            compare(&append(&mut other, 1, &ids(5, 9)), &want, vocab, 1e-4).unwrap();
        }
    }
}

#[test]
fn snapshots_that_do_not_fit_are_refused_and_nothing_is_lost() {
    let model = long("llama-gqa-tied");
    let engine = in_mode(&model, DeviceChoice::Cpu, CacheMode::Latent);
    let mut session = start(&engine, 1);
    append(&mut session, 0, &ids(0, 30));
    let good = save(&mut session, 0);
    let header_end = 12 + u32::from_le_bytes(good[8..12].try_into().unwrap()) as usize;
    let header = String::from_utf8(good[12..header_end].to_vec()).unwrap();
    let with = |from: &str, to: &str| {
        let header = header.replacen(from, to, 1);
        assert!(header.contains(to), "{header}");
        let length = (header.len() as u32).to_le_bytes();
        [&good[..8], &length, header.as_bytes(), &good[header_end..]].concat()
    };
    let mut broken_path = good.clone();
    broken_path[header_end + 4 * 30] ^= 2;
    let mut broken_token = good.clone();
    broken_token[header_end + 3] = 1;
    let mut tried = session;
    for (bytes, error) in [
        (vec![], "snapshot: beginning: expected DEPUTYS2"),
        (
            good[..10].to_vec(),
            "snapshot: length: expected at least 12 bytes",
        ),
        (good[..40].to_vec(), "snapshot: header: expected"),
        (
            with("\"cache\":", "\"cash\":"),
            "snapshot: header: expected what a session saves",
        ),
        (
            with("\"mode\":\"latent\"", "\"mode\":\"dense\""),
            "snapshot: mode: expected latent, found dense",
        ),
        (
            with("\"cache\":\"f32\"", "\"cache\":\"f16\""),
            "snapshot: cache: expected f32, found f16",
        ),
        (
            with("\"n_cached\":30", "\"n_cached\":31"),
            "snapshot: n_cached: expected at most 30, found 31",
        ),
        (
            with("\"n_cached\":30", "\"n_cached\":29"),
            "snapshot: rows: expected 29 in layer 0",
        ),
        (
            with("\"rows\":[", "\"rows\":[[30,0],"),
            "snapshot: layers: expected 2, found 3",
        ),
        (good[..good.len() - 4].to_vec(), "snapshot: cache: expected"),
        (broken_path, "snapshot: paths: expected"),
        (broken_token, "token"),
    ] {
        let found = pollster::block_on(tried.load(0, &bytes))
            .unwrap_err()
            .to_string();
        assert!(found.contains(error), "{found}, expected {error}");
        assert_eq!(save(&mut tried, 0), good, "{error}");
    }
    let others = long("qwen3");
    let other = in_mode(&others, DeviceChoice::Cpu, CacheMode::Latent);
    let found = pollster::block_on(start(&other, 1).load(0, &good)).unwrap_err();
    assert!(
        found.to_string().starts_with("snapshot: model: expected "),
        "{found}"
    );
}
