//! Room for tokens that are kept as their path made them, and what they take.

use super::Session;
use crate::error::Error;
use crate::kernels::Row;
use crate::kernels::paths::N_DENSE;
use crate::plan::{
    ARENA_ROWS, Arenas, Buffer, Growth, Held, arena_scratch, cache_buffers, cache_rows, spans,
};

/// What the cached tokens of all sequences take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Rows of tokens that are kept as they are, over all layers.
    pub n_dense: u64,
    /// Rows that are kept as latents.
    pub n_latent: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Bytes of the rows that are kept as latents.
    pub latent_bytes: u64,
    /// Bytes that they would take if all were kept as they are.
    pub dense_bytes: u64,
    /// Bytes that are allocated for the cache.
    pub allocated: u64,
}

impl CacheUse {
    /// What is taken, of what dense rows would take; 1 where nothing is cached.
    pub fn share(&self) -> f64 {
        match self.dense_bytes {
            0 => 1.0,
            dense => self.bytes as f64 / dense as f64,
        }
    }
}

impl Session {
    /// Sees to it that the arenas have room for a step's rows whatever its branches are. Counts what the device
    /// holds only where it might be too much, and then makes room for many rows more: a token waits for
    /// nothing but once in a while.
    pub(super) async fn make_room(&mut self, rows: &[Row]) -> Result<(), Error> {
        if self.settings.arenas.iter().all(Option::is_none) {
            return Ok(());
        }
        let spans = spans(rows);
        for (sequence, span) in &spans {
            self.held[*sequence as usize].rewrite(span.start);
        }
        let most = |session: &Self, layer: u32| -> [u32; 2] {
            let each = spans
                .iter()
                .map(|(sequence, span)| session.held[*sequence as usize].at_most(layer, span.end));
            each.fold([0; 2], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
        };
        let is_short = |session: &Self| {
            (0..).zip(&session.settings.arenas).any(|(layer, arenas)| {
                let [dense, latent] = most(session, layer);
                arenas.is_some_and(|arenas| dense > arenas.dense || latent > arenas.latent)
            })
        };
        if !is_short(self) {
            return Ok(());
        }
        for (sequence, span) in &spans {
            self.held[*sequence as usize] = self.count(*sequence, span.start).await?;
        }
        for layer in 0..self.settings.arenas.len() as u32 {
            self.fit(layer, most(self, layer)).await?;
        }
        Ok(())
    }

    /// Makes room in a layer's arenas for so many dense and latent rows of a sequence, if there is none yet, and for
    /// some more.
    pub(super) async fn fit(&mut self, layer: u32, [dense, latent]: [u32; 2]) -> Result<(), Error> {
        let Some(arenas) = self.settings.arenas_of(layer).copied() else {
            return Ok(());
        };
        let n_ctx = self.settings.n_ctx;
        let roomy = |n: u32, now: u32| match n > now {
            true => (n + (n / 8).max(ARENA_ROWS / 2))
                .next_multiple_of(64)
                .min(n_ctx),
            false => now,
        };
        let larger = Arenas {
            dense: roomy(dense, arenas.dense),
            latent: roomy(latent, arenas.latent),
            ..arenas
        };
        if larger == arenas {
            return Ok(());
        }
        self.grow(layer, larger).await
    }

    /// What the arenas hold of the first `position` rows of a sequence, behind all steps submitted.
    async fn count(&mut self, sequence: u32, position: u32) -> Result<Held, Error> {
        let layers = 0..self.settings.arenas.len() as u32;
        if position == 0 {
            return Ok(Held::new(0, layers.map(|_| 0)));
        }
        let at = u64::from(sequence) * u64::from(self.settings.n_ctx) + u64::from(position - 1);
        let has = |layer: &u32| self.settings.arenas_of(*layer).is_some();
        let counted: Vec<u32> = layers.clone().filter(has).collect();
        let part = |&layer: &u32| (Buffer::Paths(layer), 4 * at, 4);
        let parts: Vec<(Buffer, u64, u64)> = counted.iter().map(part).collect();
        let bytes = self.state.gather(&parts).await?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        let dense = |layer: u32| {
            let found = counted.iter().position(|&counted| counted == layer);
            found.map_or(0, |i| words[i] & N_DENSE)
        };
        Ok(Held::new(position, layers.map(dense)))
    }

    /// Dense and latent rows of each layer, of a sequence's first `n`.
    pub(super) async fn rows_held(
        &mut self,
        sequence: u32,
        n: u32,
    ) -> Result<Vec<[u32; 2]>, Error> {
        let held = self.count(sequence, n).await?;
        let n_layers = self.engine.model().graph.kv_heads().len() as u32;
        let rows = |layer| match self.settings.arenas_of(layer) {
            Some(_) => held.at_most(layer, n),
            None => [n, 0],
        };
        Ok((0..n_layers).map(rows).collect())
    }

    /// Moves a layer's rows into larger arenas.
    async fn grow(&mut self, layer: u32, larger: Arenas) -> Result<(), Error> {
        let engine = self.engine.clone();
        let graph = &engine.model().graph;
        let heads = graph.kv_heads()[layer as usize];
        let mut settings = self.settings.clone();
        settings.arenas[layer as usize] = Some(larger);
        let old = cache_rows(&self.settings, layer, heads);
        let new = cache_rows(&settings, layer, heads);
        let mut growths = vec![];
        for (buffer, n_bytes) in cache_buffers(&settings, layer, heads) {
            let moved = old.iter().zip(&new).filter(|(old, _)| old.buffer == buffer);
            let parts = moved.flat_map(|(old, new)| {
                let n = old.most * old.head_bytes;
                let firsts = |s| old.firsts(s).zip(new.firsts(s));
                let each = (0..settings.n_sequences).flat_map(firsts);
                each.map(move |(from, to)| (from, to, n))
            });
            growths.push(Growth {
                buffer,
                n_bytes,
                parts: parts.collect(),
            });
        }
        for (buffer, n_bytes) in arena_scratch(graph, &settings, self.max) {
            if n_bytes > self.state.n_bytes(buffer) {
                let parts = vec![];
                growths.push(Growth {
                    buffer,
                    n_bytes,
                    parts,
                });
            }
        }
        self.state.grow(&growths).await?;
        self.settings = settings;
        self.plans.clear();
        Ok(())
    }

    /// What the cached tokens take, and what is allocated for them.
    ///
    /// # Errors
    /// The device's.
    pub async fn cache_use(&mut self) -> Result<CacheUse, Error> {
        let engine = self.engine.clone();
        let layers = engine.model().graph.kv_heads();
        let mut found = CacheUse::default();
        for sequence in 0..self.settings.n_sequences {
            let n = self.sequences[sequence as usize].n_cached as u32;
            let held = self.rows_held(sequence, n).await?;
            for ((layer, &heads), [n_dense, n_latent]) in (0..).zip(layers).zip(held) {
                let [n_dense, n_latent] = [n_dense, n_latent].map(u64::from);
                found.n_dense += n_dense;
                found.n_latent += n_latent;
                for rows in cache_rows(&self.settings, layer, heads) {
                    let n = if rows.is_latent { n_latent } else { n_dense };
                    found.bytes += n * rows.row_bytes();
                    if rows.is_latent {
                        found.latent_bytes += n * rows.row_bytes();
                    }
                }
                let whole = 2 * self.settings.cache.row_bytes(heads.cols().into());
                found.dense_bytes += u64::from(n) * whole;
            }
        }
        for (layer, &heads) in (0..).zip(layers) {
            let buffers = cache_buffers(&self.settings, layer, heads);
            found.allocated += buffers.iter().map(|(_, n_bytes)| n_bytes).sum::<u64>();
        }
        Ok(found)
    }
}
