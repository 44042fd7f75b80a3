//! A sequence saved, and loaded again: its tokens, and what the cache holds of them.
//!
//! A snapshot is the text `DEPUTYS2`, the length of a header as a little-endian u32, the header in JSON, the tokens as
//! u32, and then layer by layer the words of its paths where it has a router, its keys, its values and its latent rows,
//! each head by head, in order of positions and in the format of the cache.

use serde::{Deserialize, Serialize};

use super::{Session, step};
use crate::branch::ModelIdentity;
use crate::engine::model_shape;
use crate::error::Error;
use crate::graph::{CacheMode, Op};
use crate::kernels::CacheType;
use crate::kernels::paths::{N_DENSE, Paths};
use crate::plan::{Buffer, Held, cache_rows};

const MAGIC: &[u8; 8] = b"DEPUTYS2";

/// What a snapshot was made of. Another model, or another cache, cannot go on from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Hash of the model's weights, see [`ModelIdentity`].
    model: String,
    /// Type of the cache.
    cache: String,
    /// How it keeps tokens of the low-rank attention.
    mode: String,
    /// Tokens that are known.
    n_tokens: usize,
    /// How many of them are cached.
    n_cached: usize,
    /// Of each layer its dense and its latent rows; of one without arenas all are dense.
    rows: Vec<[u32; 2]>,
    /// Bytes behind the tokens.
    n_bytes: u64,
}

/// One buffer's rows of a sequence, or a head of them.
struct Part {
    buffer: Buffer,
    at: u64,
    n_bytes: u64,
}

fn refused(key: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Snapshot {
        key,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl Session {
    /// A sequence's tokens and what is cached of them.
    ///
    /// # Errors
    /// The device's, and those of reading the model's files.
    ///
    /// # Panics
    /// Where the session has no such sequence.
    pub async fn save(&mut self, sequence: u32) -> Result<Vec<u8>, Error> {
        let known = &self.sequences[sequence as usize];
        let (tokens, n_cached) = (known.tokens.clone(), known.n_cached);
        let rows = self.rows_held(sequence, n_cached as u32).await?;
        let parts = self.parts(sequence, n_cached as u32, &rows);
        let header = Header {
            n_tokens: tokens.len(),
            n_cached,
            rows,
            n_bytes: parts.iter().map(|part| part.n_bytes).sum(),
            ..self.header().await?
        };
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        bytes.extend(tokens.iter().flat_map(|id| id.to_le_bytes()));
        // A buffer at a time, since what is read passes through a buffer of its size.
        for parts in parts.chunk_by(|a, b| a.buffer == b.buffer) {
            let held = parts.iter().filter(|part| part.n_bytes > 0);
            let parts: Vec<_> = held.map(|p| (p.buffer, p.at, p.n_bytes)).collect();
            bytes.extend(self.state.gather(&parts).await?);
        }
        Ok(bytes)
    }

    /// Puts what [`Session::save`] gave in the place of a sequence. The sequence stays as it was where it is refused.
    ///
    /// # Errors
    /// [`Error::Snapshot`] where it is none, or one of another model or of another kind of cache;
    /// [`Error::PromptTooLong`], [`Error::UnknownToken`], the device's.
    ///
    /// # Panics
    /// Where the session has no such sequence.
    pub async fn load(&mut self, sequence: u32, bytes: &[u8]) -> Result<(), Error> {
        let whole = bytes.len();
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(refused("beginning", "DEPUTYS2", "something else"));
        };
        let (length, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| refused("length", "at least 12 bytes", whole))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (header, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| refused("header", format!("{length} bytes"), rest.len()))?;
        let header: Header = serde_json::from_slice(header)
            .map_err(|error| refused("header", "what a session saves", error))?;
        let own = self.header().await?;
        for (key, expected, found) in [
            ("model", &own.model, &header.model),
            ("cache", &own.cache, &header.cache),
            ("mode", &own.mode, &header.mode),
        ] {
            if expected != found {
                return Err(refused(key, expected, found));
            }
        }
        let n_ctx = self.settings.n_ctx;
        if header.n_tokens > n_ctx as usize + 1 || header.n_cached > n_ctx as usize {
            return Err(Error::PromptTooLong {
                found: header.n_tokens,
                limit: n_ctx,
            });
        }
        if header.n_cached > header.n_tokens {
            return Err(refused(
                "n_cached",
                format!("at most {}", header.n_tokens),
                header.n_cached,
            ));
        }
        let n_cached = header.n_cached as u32;
        let (tokens, data) = rest.split_at_checked(4 * header.n_tokens).ok_or_else(|| {
            refused(
                "tokens",
                format!("{} bytes", 4 * header.n_tokens),
                rest.len(),
            )
        })?;
        let tokens: Vec<u32> = bytemuck::pod_collect_to_vec(tokens);
        tokens.iter().try_for_each(|&id| self.check_token(id))?;
        self.check_rows(&header)?;
        let n_bytes: u64 = self
            .parts(sequence, n_cached, &header.rows)
            .iter()
            .map(|part| part.n_bytes)
            .sum();
        if n_bytes != header.n_bytes || n_bytes != data.len() as u64 {
            return Err(refused("cache", format!("{n_bytes} bytes"), data.len()));
        }
        self.check_paths(&header, data)?;

        for (layer, rows) in (0..).zip(&header.rows) {
            self.fit(layer, *rows).await?;
        }
        let mut data = data;
        for part in self.parts(sequence, n_cached, &header.rows) {
            let (own, rest) = data.split_at(part.n_bytes as usize);
            if !own.is_empty() {
                self.state.write(part.buffer, part.at, own);
            }
            data = rest;
        }
        self.held[sequence as usize] = Held::new(n_cached, header.rows.iter().map(|rows| rows[0]));
        let known = &mut self.sequences[sequence as usize];
        (known.tokens, known.n_cached) = (tokens, header.n_cached);
        // The last token of a full context has no position.
        let n = known.tokens.len().min(n_ctx as usize);
        self.write_tokens(&step::rows(sequence, 0..n));
        Ok(())
    }

    async fn header(&self) -> Result<Header, Error> {
        let shape = model_shape(self.engine.config());
        let identity = ModelIdentity::of(self.engine.file(), shape).await?;
        let cache: CacheType = self.settings.cache;
        let mode = self.engine.options().cache_mode.unwrap_or_default();
        let is_routed = self.engine.model().graph.is_routed();
        let mode = if is_routed { mode } else { CacheMode::Dense };
        Ok(Header {
            model: identity.hash,
            cache: cache.name().to_owned(),
            mode: mode.name().to_owned(),
            n_tokens: 0,
            n_cached: 0,
            rows: vec![],
            n_bytes: 0,
        })
    }

    /// Every layer's rows add up, and layers without arenas have dense ones alone.
    fn check_rows(&self, header: &Header) -> Result<(), Error> {
        let n_layers = self.engine.model().graph.kv_heads().len();
        if header.rows.len() != n_layers {
            return Err(refused("layers", n_layers, header.rows.len()));
        }
        for (layer, &[dense, latent]) in (0..).zip(&header.rows) {
            let n = header.n_cached as u64;
            let adds_up = u64::from(dense) + u64::from(latent) == n;
            if !adds_up || (latent > 0 && self.settings.arenas_of(layer).is_none()) {
                return Err(refused(
                    "rows",
                    format!("{n} in layer {layer}"),
                    format!("{dense} and {latent}"),
                ));
            }
        }
        Ok(())
    }

    /// Shaders take the counts in the paths as they are.
    fn check_paths(&self, header: &Header, mut data: &[u8]) -> Result<(), Error> {
        for part in self.parts(0, header.n_cached as u32, &header.rows) {
            let (own, rest) = data.split_at(part.n_bytes as usize);
            data = rest;
            let Buffer::Paths(layer) = part.buffer else {
                continue;
            };
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(own);
            let has_arenas = self.settings.arenas_of(layer).is_some();
            let paths = Paths {
                words: &words,
                n_positions: header.n_cached as u32,
            };
            let mut dense = 0;
            for position in 0..header.n_cached as u32 {
                dense += u32::from(!has_arenas || !paths.is_latent(0, position));
                let found = words[position as usize];
                if found & N_DENSE != dense || found >> 24 > 0b101 {
                    let expected = format!("{dense} dense rows in layer {layer} at {position}");
                    return Err(refused("paths", expected, format!("{found:#x}")));
                }
            }
            if has_arenas && dense != header.rows[layer as usize][0] {
                return Err(refused(
                    "rows",
                    format!("{dense} dense in layer {layer}"),
                    header.rows[layer as usize][0],
                ));
            }
        }
        Ok(())
    }

    /// Where the first `n` rows of a sequence lie, of which each layer has so many dense and latent ones.
    fn parts(&self, sequence: u32, n: u32, rows: &[[u32; 2]]) -> Vec<Part> {
        let graph = &self.engine.model().graph;
        let settings = &self.settings;
        let mut parts = vec![];
        for ((layer, &heads), &[dense, latent]) in (0..).zip(graph.kv_heads()).zip(rows) {
            let is_here = |op: &Op| matches!(op, Op::Route { layer: of, .. } if *of == layer);
            if graph.nodes().iter().any(|node| is_here(&node.op)) {
                parts.push(Part {
                    buffer: Buffer::Paths(layer),
                    at: 4 * u64::from(sequence) * u64::from(settings.n_ctx),
                    n_bytes: 4 * u64::from(n),
                });
            }
            for rows in cache_rows(settings, layer, heads) {
                let held = if rows.is_latent { latent } else { dense };
                let n_bytes = u64::from(held) * rows.head_bytes;
                parts.extend(rows.firsts(sequence).map(|at| Part {
                    buffer: rows.buffer,
                    at,
                    n_bytes,
                }));
            }
        }
        parts
    }
}
