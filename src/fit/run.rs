//! The passes of a fit, one after the other.

use std::collections::HashMap;
use std::ops::Range;

use faer::Mat;

use super::branches::Branches;
use super::logits::{Logits, Macs};
use super::memory;
use super::ranks::{self, GROUPS};
use super::router::{Regression, features};
use super::{
    Candidate, Error, Factors, FitOptions, FitProgress, Fitted, Linear, LinearReport, Moment,
    Offset, Report, RouterReport, Stage, Tensor, Text, offsets, text,
};
use crate::branch::max_dense_layers;
use crate::engine::Engine;
use crate::graph::{LayerRanks, RouterKind, Routing};
use crate::session::{Session, SessionOptions, TapKind};

/// Fits factors and a linear router to a model. See the module's head.
///
/// # Errors
/// [`Error`]: options that cannot be, too little text or memory, what the engine reports.
pub async fn fit(
    engine: &Engine,
    texts: &[Text<'_>],
    options: &FitOptions,
    progress: &mut dyn FnMut(FitProgress),
) -> Result<Fitted, Error> {
    if !(options.rank > 0.0 && options.rank <= 1.0) {
        return Err(Error::Rank {
            found: options.rank,
        });
    }
    let n_layers = engine.config().n_layers;
    let limit = max_dense_layers(n_layers).min(n_layers.saturating_sub(1));
    let dense_layers = options.dense_layers.unwrap_or(2.min(n_layers / 4));
    if dense_layers > limit {
        return Err(Error::DenseLayers {
            n_layers,
            limit,
            found: dense_layers,
        });
    }
    let windows = text::windows(engine, texts, options.n_tokens, options.window)?;
    let session = engine.session(SessionOptions::default()).await?;
    let mut fit = Fit {
        engine,
        options,
        session,
        layers: dense_layers..n_layers,
        n_tokens: windows.iter().map(Vec::len).sum(),
        windows,
        group: 0,
        progress,
    };
    let n_routed = n_layers - dense_layers;
    fit.group = memory::group(engine.config(), options, n_routed, fit.sample_len())?;
    let mut factors = fit.factors().await?;
    fit.cut(&mut factors);
    let (routers, mut tensors, effort) = fit.routers(&factors).await?;
    let mut layers = vec![LayerRanks::default(); n_layers as usize];
    let mut linears = vec![];
    for layer in fit.layers.clone() {
        for linear in Linear::ALL {
            let factors = &factors[&(layer, linear)];
            let rank = factors.rank();
            *linear.rank_mut(&mut layers[layer as usize]) = Some(rank as u32);
            for (part, matrix) in [("B", &factors.b), ("D", &factors.d)] {
                tensors.push(tensor(
                    format!("layers.{layer}.{}.{part}", linear.name()),
                    matrix,
                ));
            }
            linears.push(LinearReport {
                layer,
                linear,
                shape: [factors.b.nrows(), factors.d.ncols()],
                rank,
                captured: factors.captured(),
                output_error: factors.output_error(),
            });
        }
    }
    Ok(Fitted {
        routing: Routing {
            router: RouterKind::Linear,
            dense_layers,
            dense_tokens: options.dense_tokens,
            layers,
        },
        tensors,
        effort,
        report: Report {
            texts: texts.iter().map(|text| text.name.to_owned()).collect(),
            n_tokens: fit.n_tokens,
            linears,
            routers,
        },
    })
}

/// Factors by layer and linear.
pub(super) type All = HashMap<(u32, Linear), Factors>;

/// Tokens whose predictions the offsets are read off, about: a share to a percent.
const SAMPLE: usize = 2048;

struct Fit<'a> {
    engine: &'a Engine,
    options: &'a FitOptions,
    session: Session,
    layers: Range<u32>,
    windows: Vec<Vec<u32>>,
    n_tokens: usize,
    /// Layers that are taken together.
    group: u32,
    progress: &'a mut dyn FnMut(FitProgress),
}

impl Fit<'_> {
    /// Every so many tokens one is kept.
    fn stride(&self) -> usize {
        self.n_tokens.div_ceil(SAMPLE).max(1)
    }

    fn sample_len(&self) -> usize {
        self.n_tokens / self.stride() + 1
    }

    fn groups(&self) -> Vec<Range<u32>> {
        let starts = self.layers.clone().step_by(self.group as usize);
        starts
            .map(|first| first..(first + self.group).min(self.layers.end))
            .collect()
    }

    async fn factors(&mut self) -> Result<All, Error> {
        let mut all = All::new();
        let groups = self.groups();
        let n_linears = self.layers.len() * Linear::ALL.len();
        for (i, layers) in groups.iter().enumerate() {
            let mut moments = self.moments(layers, i, groups.len()).await?;
            for layer in layers.clone() {
                // One at a time becomes the full square that algebra takes.
                for kind in [
                    TapKind::Attention,
                    TapKind::Output,
                    TapKind::Ffn,
                    TapKind::Down,
                ] {
                    let moment = moments.remove(&(layer, kind)).map(Moment::mean);
                    let read = Linear::ALL.into_iter().filter(|l| l.input() == kind);
                    for linear in read {
                        let missing = Error::Linear {
                            layer,
                            linear: linear.name(),
                        };
                        let moment = moment.as_ref().ok_or(missing)?;
                        let factors = self.factor(layer, linear, moment).await?;
                        all.insert((layer, linear), factors);
                        (self.progress)(FitProgress {
                            stage: Stage::Factors,
                            done: all.len(),
                            total: n_linears,
                        });
                    }
                }
            }
        }
        Ok(all)
    }

    async fn moments(
        &mut self,
        layers: &Range<u32>,
        group: usize,
        n_groups: usize,
    ) -> Result<HashMap<(u32, TapKind), Moment>, Error> {
        let mut moments: HashMap<(u32, TapKind), Moment> = HashMap::new();
        for i in 0..self.windows.len() {
            let dense_tokens = self.options.dense_tokens as usize;
            let mut on_tap = |tap: crate::session::Tap<'_>| {
                if matches!(tap.kind, TapKind::Entry | TapKind::Middle) {
                    return;
                }
                let skipped = dense_tokens.saturating_sub(tap.first) * tap.cols;
                let moment = moments.entry((tap.layer, tap.kind));
                let moment = moment.or_insert_with(|| Moment::new(tap.cols));
                moment.add(tap.values.get(skipped..).unwrap_or(&[]));
            };
            self.session
                .trace(&self.windows[i], layers.clone(), &mut on_tap)
                .await?;
            (self.progress)(FitProgress {
                stage: Stage::Moments,
                done: group * self.windows.len() + i + 1,
                total: n_groups * self.windows.len(),
            });
        }
        Ok(moments)
    }

    async fn factor(
        &self,
        layer: u32,
        linear: Linear,
        moment: &Mat<f64>,
    ) -> Result<Factors, Error> {
        let name = format!("layers.{layer}.{}", linear.name());
        let (id, d_out, d_in) = linear.weight(self.engine, layer).ok_or(Error::Linear {
            layer,
            linear: linear.name(),
        })?;
        let values = self.engine.weight(id).await?;
        let w = Mat::from_fn(d_out, d_in, |i, j| f64::from(values[i * d_in + j]));
        drop(values);
        let lora = self.options.lora.as_ref();
        if let Some(pair) = lora.and_then(|lora| lora.pair(layer as usize, linear.name())) {
            let rank = pair.b.len() / d_out;
            let b = Mat::from_fn(d_out, rank, |i, j| f64::from(pair.b[i * rank + j]));
            let mut factors = Factors::given(&name, &w, moment, &b)?;
            let found = factors.rank();
            factors.cut(ranks::whole(found));
            return match factors.rank() {
                0 => Err(Error::AdapterRank {
                    tensor: name,
                    expected: ranks::QUAD,
                    found,
                }),
                _ => Ok(factors),
            };
        }
        let uniform = ranks::uniform(self.options.rank, d_out, d_in);
        let rank = if self.options.allocate {
            // So that spare ranks do not fill the memory.
            (2 * uniform).min(ranks::most(d_out, d_in))
        } else {
            uniform
        };
        Factors::new(&name, &w, moment, rank, self.options.basis)
    }

    /// Cuts the factors to the ranks that they get.
    fn cut(&self, all: &mut All) {
        let mut members: Vec<Vec<(u32, Linear)>> = vec![];
        let mut candidates = vec![];
        for layer in self.layers.clone() {
            for group in GROUPS {
                let keys: Vec<(u32, Linear)> = group.iter().map(|&l| (layer, l)).collect();
                // Gate and up have the lower rank of the two.
                let rank = keys.iter().map(|key| all[key].rank()).min().unwrap_or(0);
                for key in &keys {
                    if let Some(factors) = all.get_mut(key) {
                        factors.cut(rank);
                    }
                }
                let given = |&(layer, linear): &(u32, Linear)| {
                    let lora = self.options.lora.as_ref();
                    lora.is_some_and(|lora| lora.pair(layer as usize, linear.name()).is_some())
                };
                if keys.iter().any(given) {
                    continue;
                }
                let sides = |key| (all[key].b.nrows(), all[key].d.ncols());
                let (d_out, d_in) = sides(&keys[0]);
                let gain = |rank: usize| keys.iter().map(|key| all[key].output[rank]).sum();
                candidates.push(Candidate {
                    cost: keys.len() * (d_out + d_in),
                    gains: (0..rank).map(gain).collect(),
                    uniform: ranks::uniform(self.options.rank, d_out, d_in),
                });
                members.push(keys);
            }
        }
        if !self.options.allocate {
            return;
        }
        let ranks = ranks::allocate(&candidates);
        for (keys, rank) in members.iter().zip(ranks) {
            for key in keys {
                if let Some(factors) = all.get_mut(key) {
                    factors.cut(rank);
                }
            }
        }
    }

    async fn routers(
        &mut self,
        all: &All,
    ) -> Result<(Vec<RouterReport>, Vec<Tensor>, Vec<Offset>), Error> {
        let (mut reports, mut tensors, mut decisions) = (vec![], vec![], vec![]);
        let groups = self.groups();
        for (i, layers) in groups.iter().enumerate() {
            for learned in self.learn(all, layers, i, groups.len()).await? {
                let Learned {
                    layer,
                    regression,
                    sample,
                } = learned;
                let name = || format!("layers.{layer}.router");
                let solution = regression.solve();
                let solution = solution.ok_or_else(|| Error::Algebra { tensor: name() })?;
                let macs = Macs::new(all, layer);
                let router = Logits::new(&solution, &macs);
                tensors.extend(router.tensors(layer));
                let dim = self.engine.config().dim as usize;
                for features in sample.chunks_exact(dim) {
                    decisions.extend(router.decisions(features));
                }
                reports.push(RouterReport {
                    layer,
                    r2: solution.r2,
                    error: solution.mean.map(f64::exp),
                });
            }
        }
        let n_layers = f64::from(self.layers.end);
        let routed: f64 = self.layers.clone().map(|l| Macs::new(all, l).all()).sum();
        // Dense layers cost what routed ones do.
        let layer = routed / self.layers.len() as f64;
        let n_rows = decisions.len() as f64 / (2.0 * self.layers.len() as f64);
        Ok((
            reports,
            tensors,
            offsets(decisions, n_rows * n_layers * layer),
        ))
    }

    /// One pass over the text: features and errors of each token in a group of layers.
    async fn learn(
        &mut self,
        all: &All,
        layers: &Range<u32>,
        group: usize,
        n_groups: usize,
    ) -> Result<Vec<Learned>, Error> {
        let config = self.engine.config();
        let (dim, eps) = (config.dim as usize, config.norm_eps);
        let (mut branches, mut learned) = (vec![], vec![]);
        for layer in layers.clone() {
            let factors = Linear::ALL.map(|linear| all.get(&(layer, linear)));
            branches.push(Branches::new(self.engine, layer, factors).await?);
            learned.push(Learned {
                layer,
                regression: Regression::new(dim),
                sample: vec![],
            });
        }
        let n_windows = self.windows.len();
        let (stride, dense_tokens) = (self.stride(), self.options.dense_tokens as usize);
        let (mut before, mut row) = (0, vec![]);
        for i in 0..n_windows {
            // Every fifth window judges the others.
            let is_held_out = i % 5 == 4 || (n_windows < 5 && n_windows > 1 && i == n_windows - 1);
            let mut entry: Vec<f32> = vec![];
            let mut on_tap = |tap: crate::session::Tap<'_>| {
                let at = (tap.layer - layers.start) as usize;
                if tap.kind == TapKind::Entry {
                    entry.clear();
                    entry.extend_from_slice(tap.values);
                }
                let Some(errors) = branches[at].take(&tap) else {
                    return;
                };
                let learned = &mut learned[at];
                for (t, (x, errors)) in entry.chunks_exact(dim).zip(errors).enumerate() {
                    let position = tap.first + t;
                    if position < dense_tokens {
                        continue;
                    }
                    features(x, eps, &mut row);
                    learned.regression.add(&row, errors, is_held_out);
                    if (before + position).is_multiple_of(stride) {
                        learned.sample.extend_from_slice(&row);
                    }
                }
            };
            let window = &self.windows[i];
            self.session
                .trace(window, layers.clone(), &mut on_tap)
                .await?;
            before += window.len();
            (self.progress)(FitProgress {
                stage: Stage::Router,
                done: group * n_windows + i + 1,
                total: n_groups * n_windows,
            });
        }
        Ok(learned)
    }
}

/// What a layer's router is fitted to.
struct Learned {
    layer: u32,
    regression: Regression,
    /// Features of some tokens, the same in each layer.
    sample: Vec<f32>,
}

/// A matrix row by row.
fn tensor(name: String, matrix: &Mat<f32>) -> Tensor {
    let (rows, cols) = (matrix.nrows(), matrix.ncols());
    let values = (0..rows * cols).map(|i| matrix[(i / cols, i % cols)]);
    Tensor {
        name,
        shape: vec![rows, cols],
        values: values.collect(),
    }
}
