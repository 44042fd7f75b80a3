//! What routing saves and what it costs, on a text that nothing was learned from.

use super::Error;
use crate::engine::Engine;
use crate::session::{
    Branch, LayerBranches, LayerCosts, Routes, SCORE_WINDOW, Score, Session, SessionOptions,
    TakenRoutes, layer_costs,
};

/// Windows of a text at most: 32,000 tokens tell perplexities apart by half a percent.
const MAX_WINDOWS: usize = 64;

/// Fewest tokens of a text.
const LEAST: usize = 16;

/// What a way to route costs.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of the second half of each window, as `deputy perplexity` has it.
    pub perplexity: f64,
    /// Of the perplexity.
    pub standard_error: f64,
    /// What the tokens took.
    pub routes: TakenRoutes,
    /// Bytes of the cache, in parts of what full branches would keep.
    pub cache: f64,
}

/// An engine and a text to measure it on.
pub struct Meter {
    session: Session,
    windows: Vec<Vec<u32>>,
    from: usize,
}

impl Meter {
    /// Cuts the text into windows, of which the first 64 count.
    ///
    /// # Errors
    /// [`Error::HeldOut`] for too short a text; what the engine reports.
    pub async fn new(engine: &Engine, text: &str) -> Result<Self, Error> {
        let window = SCORE_WINDOW.min(engine.n_ctx()) as usize;
        let mut windows = engine.windows(text, window)?;
        windows.truncate(MAX_WINDOWS);
        let found = windows.iter().map(Vec::len).max().unwrap_or(0);
        if found < LEAST {
            return Err(Error::HeldOut {
                expected: LEAST,
                found,
            });
        }
        let options = SessionOptions {
            all_logits: true,
            ..Default::default()
        };
        Ok(Self {
            session: engine.session(options).await?,
            windows,
            from: found / 2,
        })
    }

    /// Tokens that a measurement computes.
    pub fn n_tokens(&self) -> usize {
        self.windows.iter().map(Vec::len).sum()
    }

    /// Measures routes; those of a model without routers can only be [`Routes::FULL`].
    ///
    /// # Errors
    /// Routes that cannot be taken; what the device reports.
    pub async fn measure(&mut self, routes: &Routes) -> Result<Measured, Error> {
        if *routes != Routes::FULL || self.session.engine().model().graph.is_routed() {
            self.session.set_routes(routes)?;
        }
        let mut score = Score::default();
        let (mut bytes, mut dense_bytes) = (0, 0);
        for window in &self.windows {
            self.session.score(window, self.from, &mut score).await?;
            let used = self.session.cache_use().await?;
            bytes += used.bytes;
            dense_bytes += used.dense_bytes;
        }
        let full = TakenRoutes {
            compute: 1.0,
            ..Default::default()
        };
        Ok(Measured {
            perplexity: score.perplexity(),
            standard_error: score.standard_error(),
            routes: score.routes().unwrap_or(full),
            cache: bytes as f64 / dense_bytes.max(1) as f64,
        })
    }
}

/// Splits the last tenth off a text, at the end of a line where one is near.
pub fn hold_out(text: &str) -> (&str, &str) {
    let at = text.floor_char_boundary(text.len() / 10 * 9);
    let near = text.floor_char_boundary(at + (text.len() - at) / 4);
    let line = text[at..near].find('\n').map_or(0, |i| i + 1);
    text.split_at(at + line)
}

/// Lists of layers that do without their full branches for all tokens alike, for comparison with a
/// router: of each kind the list whose compute is nearest to the part `compute`, and that part of it.
///
/// The layers are spread evenly over those that have branches (unified layer skipping). The kinds:
/// FFN and attention together; low FFNs, then attentions; low attentions, then FFNs; skipped FFNs,
/// then low attentions.
pub fn static_lists(engine: &Engine, compute: f64) -> Vec<(Routes, f64)> {
    let costs = layer_costs(&engine.model().graph);
    let routed: Vec<usize> = match engine.branches() {
        Some(settings) => {
            let layers = settings.routing.layers.iter().enumerate();
            layers
                .filter(|(_, ranks)| ranks.is_routed())
                .map(|(i, _)| i)
                .collect()
        }
        None => vec![],
    };
    let n = routed.len();
    let both: Vec<[usize; 3]> = (0..=n).map(|k| [k, k, 0]).collect();
    let ffn_first = (0..=n).map(|k| [0, k, 0]).chain((1..=n).map(|k| [k, n, 0]));
    let attention_first = (0..=n).map(|k| [k, 0, 0]).chain((1..=n).map(|k| [n, k, 0]));
    let skipped = (0..=n).map(|k| [0, 0, k]).chain((1..=n).map(|k| [k, 0, n]));
    let kinds = [
        both,
        ffn_first.collect(),
        attention_first.collect(),
        skipped.collect(),
    ];
    let mut lists: Vec<(Routes, f64)> = vec![];
    for kind in kinds {
        let mut best: Option<(Vec<LayerBranches>, f64)> = None;
        for [attention, ffn, skip] in kind {
            let mut layers = vec![LayerBranches::default(); costs.len()];
            for i in spread(attention, &routed) {
                layers[i].attention = Branch::Low;
            }
            for i in spread(ffn, &routed) {
                layers[i].ffn = Branch::Low;
            }
            for i in spread(skip, &routed) {
                layers[i].ffn = Branch::Skipped;
            }
            let found = share(&costs, &layers);
            let distance = |share: f64| (share - compute).abs();
            if best
                .as_ref()
                .is_none_or(|(_, share)| distance(found) < distance(*share))
            {
                best = Some((layers, found));
            }
        }
        let Some((layers, found)) = best else {
            continue;
        };
        let list = (Routes::Layers(layers), found);
        if !lists.contains(&list) {
            lists.push(list);
        }
    }
    lists
}

/// `k` of these, evenly spread.
fn spread(k: usize, of: &[usize]) -> impl Iterator<Item = usize> {
    (0..k).map(move |i| of[(2 * i + 1) * of.len() / (2 * k)])
}

/// Part of the multiply-adds that run where all tokens take these branches.
fn share(costs: &[LayerCosts], layers: &[LayerBranches]) -> f64 {
    let (mut run, mut full) = (0.0, 0.0);
    for (costs, branches) in costs.iter().zip(layers) {
        full += costs.attention[0] + costs.ffn[0];
        run += costs.attention[branches.attention as usize] + costs.ffn[branches.ffn as usize];
    }
    run / full
}
