//! FlattenQuant: a model whose products of many rows multiply integers with one scale.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::caps::{cap, copies, smoothing};
use super::round::{Gptq, Rounded, output_energy, round};
use super::seen::{Inputs, Seen, group};
use super::{Error, FitProgress, Linear, Stage, Text, text};
use crate::engine::{Engine, Progress, Rewrite, WeightFormat, rewrite, sidecar};
use crate::file::Declaration;
use crate::graph::{Flat, MAX_LEVEL, WeightId};
use crate::model::FlatInput;
use crate::tensor::quant::write_row;
use crate::tensor::{DType, Shape};

/// How a model is flattened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlattenOptions {
    /// Part of the linears' multiply-adds whose weights have four bits.
    pub int4_share: f64,
    /// How much of the inputs' differences smoothing gives to the weights: a column is divided by
    /// `max|X|^alpha / max|W|^(1-alpha)`. `None` leaves columns as they are.
    pub alpha: Option<f64>,
    /// Columns with their copies, at most in parts of those without.
    pub max_expansion: f64,
    /// Whether large columns get copies; without, the largest value makes the scale.
    pub copies: bool,
    /// Whether weights are rounded by GPTQ rather than each to its nearest integer.
    pub gptq: bool,
    /// Whether each row of activations has its own scale; else all have that of the calibration text.
    pub row_scales: bool,
    /// Whether each row of a weight has its own scale; else all of the tensor have one.
    pub output_scales: bool,
    /// Take a model whose weights are quantised already.
    pub requantize: bool,
    /// Tokens of the text at most.
    pub n_tokens: usize,
    /// Tokens of a window, which is computed by itself.
    pub window: usize,
    /// Bytes that second moments may take, but for those of one layer.
    pub memory: u64,
}

impl Default for FlattenOptions {
    fn default() -> Self {
        Self {
            int4_share: 0.48,
            alpha: Some(0.5),
            max_expansion: 1.3,
            copies: true,
            gptq: true,
            row_scales: true,
            output_scales: false,
            requantize: false,
            n_tokens: 1 << 15,
            window: 512,
            memory: 4 << 30,
        }
    }
}

/// A flattened model that is to be written.
pub struct Flattened {
    replaced: BTreeMap<String, (DType, Vec<u8>)>,
    added: Vec<(Declaration, Vec<u8>)>,
    smoothing: HashMap<(u32, FlatInput), Vec<f32>>,
    /// What was done.
    pub report: FlattenReport,
}

/// What flattening did.
#[derive(Clone, Debug, Default)]
pub struct FlattenReport {
    /// Tokens that went through the model.
    pub n_tokens: usize,
    /// By input, in the order of the layers.
    pub inputs: Vec<InputReport>,
    /// By linear, in the order of the layers.
    pub linears: Vec<RoundedReport>,
}

/// What became of an input.
#[derive(Clone, Debug)]
pub struct InputReport {
    /// The layer.
    pub layer: u32,
    /// Which of its inputs.
    pub input: FlatInput,
    /// Columns.
    pub cols: usize,
    /// Columns of integers, without those that fill up blocks of 32.
    pub n_columns: usize,
    /// The cap T of the columns, behind smoothing.
    pub cap: f64,
    /// The largest value of any column, behind smoothing.
    pub most: f64,
}

/// What became of a linear.
#[derive(Clone, Debug)]
pub struct RoundedReport {
    /// The layer.
    pub layer: u32,
    /// The linear.
    pub linear: Linear,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// 4 or 8.
    pub bits: u32,
    /// `E|W x - Ŵ x|² / E|W x|²` over the text, for exact inputs.
    pub output_error: f64,
}

impl FlattenReport {
    /// Part of the linears' multiply-adds whose weights have four bits.
    pub fn int4_share(&self) -> f64 {
        let macs = |linear: &RoundedReport| linear.shape[0] * linear.shape[1];
        let four = self.linears.iter().filter(|linear| linear.bits == 4);
        let all: usize = self.linears.iter().map(macs).sum();
        four.map(macs).sum::<usize>() as f64 / all.max(1) as f64
    }

    /// Columns of integers in parts of the inputs' columns, over all inputs.
    pub fn expansion(&self) -> f64 {
        let sum = |of: fn(&InputReport) -> usize| self.inputs.iter().map(of).sum::<usize>() as f64;
        sum(|input| input.n_columns) / sum(|input| input.cols)
    }
}

/// Flattens a model: smooths its norms, chooses caps and copies of the linears' inputs from what a text makes of them,
/// and rounds the weights. `engine` is the plain model, without branches.
///
/// # Errors
/// [`Error`]: options that cannot be, a model that is quantised or flattened already, too little text, activations
/// that are not finite, what the engine reports.
pub async fn flatten(
    engine: &Engine,
    texts: &[Text<'_>],
    options: &FlattenOptions,
    progress: &mut dyn FnMut(FitProgress),
) -> Result<Flattened, Error> {
    check(engine, options)?;
    let windows = text::windows(engine, texts, options.n_tokens, options.window)?;
    let mut inputs = Inputs::new(engine, windows).await?;
    let n_layers = engine.config().n_layers;
    let group = group(engine, options.memory);
    let mut rounded = vec![];
    let mut flattened = Flattened {
        replaced: BTreeMap::new(),
        added: vec![],
        smoothing: HashMap::new(),
        report: FlattenReport {
            n_tokens: inputs.windows.iter().map(Vec::len).sum(),
            ..Default::default()
        },
    };
    for first in (0..n_layers).step_by(group as usize) {
        let layers = first..(first + group).min(n_layers);
        let mut seen = inputs.gather(layers.clone(), n_layers, progress).await?;
        for layer in layers {
            for input in FlatInput::ALL {
                let Some(seen) = seen.remove(&(layer, input)) else {
                    continue;
                };
                let done = flattened.input(engine, options, layer, input, seen).await?;
                rounded.extend(done);
            }
            progress(FitProgress {
                stage: Stage::Rounded,
                done: layer as usize + 1,
                total: n_layers as usize,
            });
        }
    }
    flattened.choose(engine, options, rounded);
    Ok(flattened)
}

/// A linear with the integers that it may have.
struct Candidate {
    layer: u32,
    linear: Linear,
    id: WeightId,
    shape: [usize; 2],
    /// With eight bits and with four, as far as they are wanted.
    eight: Option<Rounded>,
    four: Option<Rounded>,
}

impl Flattened {
    /// Writes the model to `out`: a folder from a folder, a GGUF file from a GGUF file. Nothing is left there where it
    /// fails. A sidecar goes along, its factors smoothed as the linears that they stand for.
    ///
    /// # Errors
    /// What is wrong with the model or its sidecar; where `out` exists or cannot be written.
    pub async fn write(
        &self,
        engine: &Engine,
        out: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Error> {
        let draft = match sidecar(engine.file(), engine.config()).await? {
            None => None,
            Some(sidecar) => {
                let mut draft = sidecar.draft().await?;
                for (name, shape, values) in &mut draft.tensors {
                    if let Some(smoothing) = self.smoothing_of(name) {
                        for row in values.chunks_exact_mut(shape[1]) {
                            row.iter_mut().zip(smoothing).for_each(|(d, s)| *d *= s);
                        }
                    }
                }
                Some(draft)
            }
        };
        let rewritten = Rewrite {
            format: WeightFormat::Q8,
            replaced: &self.replaced,
            added: &self.added,
            draft,
        };
        Ok(rewrite(engine.file(), &rewritten, out, progress).await?)
    }

    /// What the columns of a factor D, such as `layers.3.q.D`, are multiplied with.
    fn smoothing_of(&self, name: &str) -> Option<&Vec<f32>> {
        let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let linear = rest.strip_suffix(".D")?;
        let linear = Linear::ALL.into_iter().find(|l| l.name() == linear)?;
        self.smoothing
            .get(&(layer.parse().ok()?, linear.flat_input()))
    }

    /// Smooths and caps an input, and rounds the linears that read it.
    async fn input(
        &mut self,
        engine: &Engine,
        options: &FlattenOptions,
        layer: u32,
        input: FlatInput,
        seen: Seen,
    ) -> Result<Vec<Candidate>, Error> {
        let readers = Linear::ALL.into_iter().filter(|l| l.flat_input() == input);
        let mut linears = vec![];
        let cols = seen.most.len();
        let mut most_of_weights = vec![0.0f64; cols];
        for linear in readers {
            let (id, d_out, d_in) = linear.weight(engine, layer).ok_or(Error::Linear {
                layer,
                linear: linear.name(),
            })?;
            let w = engine.weight(id).await?;
            for row in w.chunks_exact(d_in) {
                for (most, w) in most_of_weights.iter_mut().zip(row) {
                    *most = most.max(f64::from(w.abs()));
                }
            }
            linears.push((linear, id, [d_out, d_in], w));
        }
        // Rows of broken blocks cannot be stored in integers.
        if !cols.is_multiple_of(32) {
            return Ok(vec![]);
        }
        let Seen { most, moment } = seen;
        let mut most: Vec<f64> = most.iter().map(|&most| most.into()).collect();
        let mut moment = moment.mean();
        if let (Some(alpha), Some(norm)) = (options.alpha, norm_of(engine, layer, input)) {
            let smoothing = smoothing(&most, &most_of_weights, alpha);
            for (j, s) in smoothing.iter().map(|&s| f64::from(s)).enumerate() {
                most[j] /= s;
                moment.col_as_slice_mut(j).iter_mut().for_each(|m| *m /= s);
                for i in 0..cols {
                    moment[(j, i)] /= s;
                }
            }
            for (.., w) in &mut linears {
                for row in w.chunks_exact_mut(cols) {
                    row.iter_mut().zip(&smoothing).for_each(|(w, s)| *w *= s);
                }
            }
            let gains = engine.weight(norm).await?;
            let gains = gains.iter().zip(&smoothing).map(|(g, s)| g / s);
            let bytes = gains.flat_map(f32::to_le_bytes).collect();
            let name = engine.model().weights[norm.0 as usize].tensor.name.clone();
            self.replaced.insert(name, (DType::F32, bytes));
            self.smoothing.insert((layer, input), smoothing);
        }
        let largest = most.iter().copied().fold(0.0, f64::max);
        let cap = match options.copies {
            true => cap(&most, options.max_expansion),
            false => largest,
        };
        let cap = if cap > 0.0 { cap } else { 1.0 };
        let scale = (cap / f64::from(MAX_LEVEL)) as f32;
        let flat = Flat {
            copies: most.iter().map(|most| copies(*most, cap)).collect(),
            scale: (!options.row_scales).then_some(scale.max(f32::MIN_POSITIVE)),
        };
        self.report.inputs.push(InputReport {
            layer,
            input,
            cols,
            n_columns: flat.n_columns(),
            cap,
            most: largest,
        });
        self.add(
            input.tensor(layer, "copies"),
            flat.copies.iter().map(|&n| n.into()),
        );
        if let Some(scale) = flat.scale {
            self.add(input.tensor(layer, "scale"), [scale].into_iter());
        }
        let name = format!("layers.{layer}.{}", input.name());
        let gptq = match options.gptq {
            true => Some(Gptq::new(&name, &moment, DAMPING)?),
            false => None,
        };
        let candidates = linears.into_iter().map(|(linear, id, shape, w)| {
            let energy = output_energy(&w, &moment);
            let by_row = options.output_scales;
            let round = |most| round(&w, &moment, energy, gptq.as_ref(), most, by_row);
            Candidate {
                layer,
                linear,
                id,
                shape,
                eight: (options.int4_share < 1.0).then(|| round(127)),
                four: (options.int4_share > 0.0).then(|| round(7)),
            }
        });
        Ok(candidates.collect())
    }

    fn add(&mut self, name: String, values: impl ExactSizeIterator<Item = f32>) {
        let declaration = Declaration {
            name,
            dtype: DType::F32,
            shape: Shape(vec![values.len()]),
        };
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        self.added.push((declaration, bytes));
    }

    /// Gives four bits to the linears whose outputs they change least, up to the share.
    fn choose(&mut self, engine: &Engine, options: &FlattenOptions, candidates: Vec<Candidate>) {
        let macs = |candidate: &Candidate| candidate.shape[0] * candidate.shape[1];
        let error = |at: usize| {
            let four: Option<&Rounded> = candidates[at].four.as_ref();
            four.map_or(f64::INFINITY, |four| four.error)
        };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| error(a).total_cmp(&error(b)));
        let mut left = options.int4_share * candidates.iter().map(macs).sum::<usize>() as f64;
        let mut has_four = vec![false; candidates.len()];
        for at in order {
            let macs = macs(&candidates[at]) as f64;
            // To the nearest whole linear.
            if macs / 2.0 < left {
                has_four[at] = true;
                left -= macs;
            }
        }
        for (candidate, has_four) in candidates.into_iter().zip(has_four) {
            let Candidate {
                layer,
                linear,
                id,
                shape,
                eight,
                four,
            } = candidate;
            let (dtype, bits, rounded) = match has_four {
                true => (DType::Q4_0, 4, four),
                false => (DType::Q8_0, 8, eight),
            };
            let rounded = rounded.expect("a share of 0 or 1 leaves no linear for the other bits");
            let mut bytes = vec![];
            for (q, scale) in rounded.q.chunks_exact(shape[1]).zip(rounded.scales) {
                write_row(dtype, scale, q, &mut bytes);
            }
            let name = engine.model().weights[id.0 as usize].tensor.name.clone();
            self.replaced.insert(name, (dtype, bytes));
            self.report.linears.push(RoundedReport {
                layer,
                linear,
                shape,
                bits,
                output_error: rounded.error,
            });
        }
    }
}

/// Added to the second moments for GPTQ, in parts of their mean.
const DAMPING: f64 = 0.01;

fn check(engine: &Engine, options: &FlattenOptions) -> Result<(), Error> {
    let invalid = |option, expected, found: f64| Error::Option {
        option,
        expected,
        found: found.to_string(),
    };
    let FlattenOptions {
        int4_share,
        alpha,
        max_expansion,
        ..
    } = *options;
    if !(0.0..=1.0).contains(&int4_share) {
        return Err(invalid("int4_share", "a part from 0 to 1", int4_share));
    }
    if let Some(alpha) = alpha.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
        return Err(invalid("alpha", "a number from 0 to 1", alpha));
    }
    if !(1.0..=16.0).contains(&max_expansion) {
        return Err(invalid(
            "max_expansion",
            "a number from 1 to 16",
            max_expansion,
        ));
    }
    if !engine.model().graph.flats().is_empty() {
        return Err(Error::Flattened {
            model: engine.name().to_owned(),
        });
    }
    for layer in 0..engine.config().n_layers {
        for linear in Linear::ALL {
            let Some((id, ..)) = linear.weight(engine, layer) else {
                continue;
            };
            let source = &engine.model().weights[id.0 as usize];
            if source.dtype.is_quantized() && !options.requantize {
                return Err(Error::Quantized {
                    model: engine.name().to_owned(),
                    tensor: source.tensor.name.clone(),
                    found: source.dtype.name(),
                });
            }
        }
    }
    Ok(())
}

/// The norm that makes an input.
fn norm_of(engine: &Engine, layer: u32, input: FlatInput) -> Option<WeightId> {
    let norm = match input {
        FlatInput::Attention => "input_layernorm",
        FlatInput::Ffn => "post_attention_layernorm",
        FlatInput::Output | FlatInput::Down => return None,
    };
    let name = format!("model.layers.{layer}.{norm}.weight");
    let weights = engine.model().graph.weights();
    let at = weights.iter().position(|weight| weight.name == name)?;
    Some(WeightId(at as u32))
}
