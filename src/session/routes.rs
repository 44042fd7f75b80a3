//! Which branches tokens take: how it is decided, and what was taken.

use std::str::FromStr;

use super::Session;
use crate::branch::Effort;
use crate::error::Error;
use crate::graph::{ALL_FULL, Graph, Op};
use crate::kernels::route::{self, BY_LIST, BY_ROUTER, BY_SHARES, SETTINGS_WORDS, Settings};
use crate::plan::Buffer;

/// A branch of a layer's attention or FFN. An attention is never skipped: every token owns keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Branch {
    /// The model's own matrices.
    #[default]
    Full = 0,
    /// Low-rank factors in their place.
    Low = 1,
    /// Nothing: the residual stream goes on as it is.
    Skipped = 2,
}

/// Branches of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerBranches {
    /// Of the attention.
    pub attention: Branch,
    /// Of the FFN.
    pub ffn: Branch,
}

/// How the branches of tokens are decided. A low-rank branch that a layer has not is full, and a layer
/// without a router takes the full branches whatever is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Routes {
    /// By the router, as much as the sidecar says where nothing is said.
    #[default]
    Trained,
    /// By the router: from 0, as little as it knows, to 1, all full.
    Effort(f32),
    /// All alike in every layer.
    All(LayerBranches),
    /// All tokens alike in a layer, layer by layer.
    Layers(Vec<LayerBranches>),
    /// By a hash of layer and position, so that these parts of the tokens take them.
    Shares {
        /// Tokens with a low-rank attention, 0 to 1.
        attention_low: f32,
        /// Tokens with a low-rank FFN, 0 to 1.
        ffn_low: f32,
        /// Tokens that skip the FFN, 0 to 1; with `ffn_low` at most 1.
        ffn_skipped: f32,
        /// Of the hash.
        seed: u32,
    },
}

impl Routes {
    /// Every token on the full branches.
    pub const FULL: Self = Routes::All(LayerBranches {
        attention: Branch::Full,
        ffn: Branch::Full,
    });

    /// Every token on the low-rank branches.
    pub const LOW: Self = Routes::All(LayerBranches {
        attention: Branch::Low,
        ffn: Branch::Low,
    });

    /// What the device reads.
    fn words(&self, n_layers: usize, table: &Effort) -> Result<Vec<u32>, Error> {
        let invalid = |key, expected: String, found: String| Error::Routes {
            key,
            expected,
            found,
        };
        let mut settings = Settings::default();
        let mut layers = vec![LayerBranches::default(); n_layers];
        match self {
            Routes::Trained | Routes::Effort(_) => {
                let effort = match self {
                    Routes::Effort(effort) => *effort,
                    _ => table.default_effort(),
                };
                let offsets = table.offsets(effort)?;
                if offsets == [ALL_FULL; 2] {
                    settings.mode = BY_LIST;
                } else {
                    settings.mode = BY_ROUTER;
                    [settings.attention_offset, settings.ffn_offset] = offsets;
                }
            }
            Routes::All(branches) => {
                settings.mode = BY_LIST;
                layers.fill(*branches);
            }
            Routes::Layers(list) => {
                if list.len() != n_layers {
                    let expected = format!("{n_layers}, one for each layer");
                    return Err(invalid("layers", expected, list.len().to_string()));
                }
                settings.mode = BY_LIST;
                layers.clone_from(list);
            }
            &Routes::Shares {
                attention_low,
                ffn_low,
                ffn_skipped,
                seed,
            } => {
                for (key, share) in [
                    ("attention_low", attention_low),
                    ("ffn_low", ffn_low),
                    ("ffn_skipped", ffn_skipped),
                    ("ffn_low + ffn_skipped", ffn_low + ffn_skipped),
                ] {
                    if !(0.0..=1.0).contains(&share) {
                        return Err(invalid(key, "0 to 1".to_owned(), share.to_string()));
                    }
                }
                // As parts of 2^32; a cast saturates.
                let threshold = |share: f32| (f64::from(share) * 2f64.powi(32)) as u32;
                settings.mode = BY_SHARES;
                settings.seed = seed;
                settings.attention_low = threshold(attention_low);
                settings.ffn_low = threshold(ffn_low);
                settings.ffn_skip = threshold(ffn_low + ffn_skipped);
            }
        }
        let mut words = vec![];
        for branches in layers {
            if branches.attention == Branch::Skipped {
                let expected = "full or low: no token may be without keys and values".to_owned();
                return Err(invalid("attention", expected, "skipped".to_owned()));
            }
            words.push(branches.attention as u32 | (branches.ffn as u32) << 2);
        }
        Ok([bytemuck::cast_slice(&[settings]), &words].concat())
    }
}

impl FromStr for Routes {
    type Err = String;

    /// `full`, `low`, `skip`, `shares:A,L,S`, or `layers:` with two letters for each layer.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || {
            format!("routes {text:?} are not one of full, low, skip, shares:A,L,S, layers:AF,AF,…")
        };
        let letter = |c: u8| match c {
            b'f' => Some(Branch::Full),
            b'l' => Some(Branch::Low),
            b's' => Some(Branch::Skipped),
            _ => None,
        };
        match (text, text.split_once(':')) {
            ("full", _) => Ok(Routes::FULL),
            ("low", _) => Ok(Routes::LOW),
            ("skip", _) => Ok(Routes::All(LayerBranches {
                attention: Branch::Full,
                ffn: Branch::Skipped,
            })),
            (_, Some(("shares", list))) => {
                let shares: Result<Vec<f32>, _> = list.split(',').map(str::parse).collect();
                match shares.as_deref() {
                    Ok(&[attention_low, ffn_low, ffn_skipped]) => Ok(Routes::Shares {
                        attention_low,
                        ffn_low,
                        ffn_skipped,
                        seed: 0,
                    }),
                    _ => Err(expected()),
                }
            }
            (_, Some(("layers", list))) => {
                let layers = list.split(',').map(|layer| match *layer.as_bytes() {
                    [attention, ffn] => Some(LayerBranches {
                        attention: letter(attention)?,
                        ffn: letter(ffn)?,
                    }),
                    _ => None,
                });
                let layers: Option<Vec<LayerBranches>> = layers.collect();
                layers.map(Routes::Layers).ok_or_else(expected)
            }
            _ => Err(expected()),
        }
    }
}

/// What a sequence's tokens took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TakenRoutes {
    /// By layer; empty where it has no router. Then by position.
    pub layers: Vec<Vec<LayerBranches>>,
    /// Part of the tokens, over the layers with a router, whose attention was low-rank.
    pub attention_low: f64,
    /// Part whose FFN was low-rank.
    pub ffn_low: f64,
    /// Part that skipped the FFN.
    pub ffn_skipped: f64,
    /// Multiply-adds of the layers' projections that ran, of those that the full branches run.
    pub compute: f64,
}

impl Session {
    /// Decides the branches of the next tokens in another way. The cache keeps what earlier ones took.
    ///
    /// # Errors
    /// [`Error::Routes`], which also says so where the model has no routers.
    pub fn set_routes(&mut self, routes: &Routes) -> Result<(), Error> {
        self.routing = self.routing_of(routes)?;
        self.write_routing();
        Ok(())
    }

    /// What the device reads of a way to decide branches.
    pub(super) fn routing_of(&self, routes: &Routes) -> Result<Vec<u32>, Error> {
        let graph = &self.engine.model().graph;
        let Some(branches) = self.engine.branches().filter(|_| graph.is_routed()) else {
            return Err(Error::Routes {
                key: "routes",
                expected: "a model with routers".to_owned(),
                found: "none".to_owned(),
            });
        };
        routes.words(graph.kv_heads().len(), &branches.effort)
    }

    /// Whether every row of the next steps takes the full branches, whatever a router would say.
    pub fn is_all_full(&self) -> bool {
        self.all_full
    }

    pub(super) fn write_routing(&mut self) {
        if !self.routing.is_empty() {
            let bytes = bytemuck::cast_slice(&self.routing);
            self.state.write(Buffer::Routing, 0, bytes);
            self.all_full = all_full(&self.routing);
        }
    }

    /// Lets the next steps be drafts, until [`Session::write_routing`].
    pub(super) fn write_draft_routing(&mut self) {
        let bytes = bytemuck::cast_slice(&self.draft_routing);
        self.state.write(Buffer::Routing, 0, bytes);
        self.all_full = all_full(&self.draft_routing);
    }

    /// What the cached tokens of a sequence took; `None` for a model without routers.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// Where the session has no such sequence.
    pub async fn taken_routes(&mut self, sequence: u32) -> Result<Option<TakenRoutes>, Error> {
        let engine = self.engine.clone();
        let graph = &engine.model().graph;
        if !graph.is_routed() {
            return Ok(None);
        }
        let n = self.sequences[sequence as usize].n_cached;
        let n_ctx = self.settings.n_ctx as usize;
        let mut taken = TakenRoutes {
            layers: vec![vec![]; graph.kv_heads().len()],
            ..Default::default()
        };
        for node in graph.nodes() {
            let Op::Route { layer, .. } = node.op else {
                continue;
            };
            let words = self.read(Buffer::Paths(layer)).await?;
            let words = &words[sequence as usize * n_ctx..][..n];
            taken.layers[layer as usize] = words.iter().map(|&word| branches(word)).collect();
        }
        taken.count(graph);
        Ok(Some(taken))
    }
}

fn branches(word: u32) -> LayerBranches {
    let (attention, ffn) = route::branches(word);
    LayerBranches {
        attention: if attention == 0 {
            Branch::Full
        } else {
            Branch::Low
        },
        ffn: match ffn {
            0 => Branch::Full,
            1 => Branch::Low,
            _ => Branch::Skipped,
        },
    }
}

impl TakenRoutes {
    fn count(&mut self, graph: &Graph) {
        let routed = || self.layers.iter().flatten();
        let n = routed().count() as f64;
        let part =
            |is: &dyn Fn(&LayerBranches) -> bool| routed().filter(|b| is(b)).count() as f64 / n;
        (self.attention_low, self.ffn_low, self.ffn_skipped) = (
            part(&|branches| branches.attention == Branch::Low),
            part(&|branches| branches.ffn == Branch::Low),
            part(&|branches| branches.ffn == Branch::Skipped),
        );
        let n_tokens = self.layers.iter().map(Vec::len).max().unwrap_or(0);
        let (mut run, mut full) = (0.0, 0.0);
        for (layer, costs) in layer_costs(graph).iter().enumerate() {
            full += (costs.attention[0] + costs.ffn[0]) * n_tokens as f64;
            if self.layers[layer].is_empty() {
                run += (costs.attention[0] + costs.ffn[0]) * n_tokens as f64;
            }
            for branches in &self.layers[layer] {
                run += costs.attention[branches.attention as usize];
                run += costs.ffn[branches.ffn as usize];
            }
        }
        self.compute = run / full;
    }
}

/// Multiply-adds of a token in a layer's projections, by branch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerCosts {
    /// Full and low.
    pub attention: [f64; 2],
    /// Full, low and skipped.
    pub ffn: [f64; 3],
}

/// What the branches of each layer cost.
pub fn layer_costs(graph: &Graph) -> Vec<LayerCosts> {
    let mut costs = vec![LayerCosts::default(); graph.kv_heads().len()];
    let size = |id: crate::graph::WeightId| {
        let weight = &graph.weights()[id.0 as usize];
        f64::from(weight.rows) * f64::from(weight.cols)
    };
    for node in graph.nodes() {
        let layer = node.label.strip_prefix("layers.");
        let layer = layer.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let (
            Op::Linear {
                parts, branches, ..
            },
            Some(layer),
        ) = (&node.op, layer)
        else {
            continue;
        };
        let is_ffn = node.label.ends_with("ffn");
        if node.label.ends_with("router") {
            continue;
        }
        for (i, part) in parts.iter().enumerate() {
            let full = size(part.weight);
            let factors = branches.as_ref().and_then(|branches| branches.factors[i]);
            let low = factors.map_or(full, |factors| size(factors.b) + size(factors.d));
            let costs = &mut costs[layer];
            let sums = if is_ffn {
                &mut costs.ffn[..2]
            } else {
                &mut costs.attention[..]
            };
            sums[0] += full;
            sums[1] += low;
        }
    }
    costs
}

/// Whether the words that the device reads list the full branches for each layer.
fn all_full(words: &[u32]) -> bool {
    const FULL: u32 = Branch::Full as u32 | (Branch::Full as u32) << 2;
    let (settings, layers) = words.split_at(SETTINGS_WORDS as usize);
    settings[0] == BY_LIST && layers.iter().all(|&branches| branches == FULL)
}
