//! What `deputy.json` says: from JSON, checked against the model, and back.
//!
//! ```json
//! {
//!   "version": 1,
//!   "model": {"hash": "…", "architecture": "llama", "n_layers": 2, "dim": 128, "ffn_dim": 384,
//!             "n_heads": 8, "n_kv_heads": 4, "head_dim": 16},
//!   "dense_layers": 2, "dense_tokens": 2,
//!   "router": {"kind": "mlp", "width": 64},
//!   "cache": "latent-v",
//!   "factors": "auto",
//!   "effort": {"default": 0.5, "offsets": [{"effort": 0.0, "attention": -4.0, "ffn": -4.0}]},
//!   "layers": [{"q": 32, "k": 16, "v": 16}, {"gate": 32, "up": 32}],
//!   "calibration": {}
//! }
//! ```
//!
//! A rank that is absent leaves its projection alone. `calibration` is for people and may hold anything. Where matrices
//! are stored in blocks, `quantization_config` lists them as a model's config.json does.

use serde_json::{Map, Value, json};

use super::object::Object;
use super::{Effort, Error, ModelIdentity, ModelShape, Offsets, Rule};
use crate::graph::{CacheMode, LayerRanks, RouterKind, Routing};

/// The key of what says which tensors are quantised.
pub(super) const QUANTIZATION: &str = "quantization_config";

const VERSION: u32 = 1;
/// Hidden values of a router; published ones have up to 512.
const MAX_WIDTH: u32 = 4096;
/// Positions that any model may have.
const MAX_TOKENS: u32 = 1 << 24;

const CACHE_MODES: [(&str, CacheMode); 3] = [
    (CacheMode::Dense.name(), CacheMode::Dense),
    (CacheMode::LatentV.name(), CacheMode::LatentV),
    (CacheMode::Latent.name(), CacheMode::Latent),
];
const FACTOR_FORMATS: [(&str, FactorFormat); 5] = [
    ("auto", FactorFormat::Auto),
    ("q8", FactorFormat::Q8),
    ("q4", FactorFormat::Q4),
    ("f16", FactorFormat::F16),
    ("f32", FactorFormat::F32),
];

/// What a sidecar says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The branches and how they are decided.
    pub routing: Routing,
    /// How the cache keeps tokens of the low-rank branch.
    pub cache: CacheMode,
    /// Format of the factors on the device.
    pub factors: FactorFormat,
    /// How much is computed.
    pub effort: Effort,
    /// How the sidecar came about: an object for people to read.
    pub calibration: Value,
}

/// Format of low-rank factors on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FactorFormat {
    /// As the weight that they stand for.
    #[default]
    Auto,
    /// Blocks of 32 signed bytes.
    Q8,
    /// Blocks of 32 nibbles.
    Q4,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl FactorFormat {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        name_of(self, &FACTOR_FORMATS)
    }
}

impl Settings {
    /// The cache mode's name in the file.
    pub fn cache_name(&self) -> &'static str {
        self.cache.name()
    }
}

fn name_of<T: PartialEq>(value: T, choices: &[(&'static str, T)]) -> &'static str {
    let choice = choices.iter().find(|(_, choice)| *choice == value);
    choice.expect("every value has a name").0
}

/// The hash that the file names, if it has the form of a sidecar at all.
pub(super) fn hash_of(value: &Value) -> Option<&str> {
    value.get("model")?.get("hash")?.as_str()
}

/// Reads and checks the file's value for `model`.
pub(super) fn parse(file: &str, value: &Value, model: &ModelIdentity) -> Result<Settings, Error> {
    let mut root = Object::root(file, value)?;
    root.u32("version", VERSION, VERSION)?;
    check_model(file, root.object("model")?, model)?;
    let n_layers = model.shape.n_layers;
    let dense_layers = root.u32("dense_layers", 0, max_dense_layers(n_layers))?;
    let dense_tokens = root.u32("dense_tokens", 0, MAX_TOKENS)?;
    let router = router(root.object("router")?)?;
    let cache = root.choice("cache", &CACHE_MODES)?;
    let factors = root.choice("factors", &FACTOR_FORMATS)?;
    let effort = effort(file, root.object("effort")?)?;
    let list = root.array("layers")?;
    if list.len() != n_layers as usize {
        let expected = format!("an entry for each of {n_layers} layers");
        return Err(root.invalid("layers", &expected, list.len()));
    }
    let layers = list.iter().enumerate();
    let layers = layers.map(|(i, value)| layer(file, &format!("layers[{i}]"), value, &model.shape));
    let layers = layers.collect::<Result<_, _>>()?;
    let calibration = match root.get("calibration") {
        None => json!({}),
        Some(value) => {
            Object::entry(file, "calibration", value)?;
            value.clone()
        }
    };
    // It is about the other file, and applied where that one is read.
    if let Some(value) = root.get(QUANTIZATION) {
        Object::entry(file, QUANTIZATION, value)?.choice("quant_method", &[("deputy", ())])?;
    }
    root.finish()?;
    Ok(Settings {
        routing: Routing {
            router,
            dense_layers,
            dense_tokens,
            layers,
        },
        cache,
        factors,
        effort,
        calibration,
    })
}

/// A quarter of the layers: routing is to leave most of the model to the router. Two in any case,
/// which tiny models do not have more of.
pub fn max_dense_layers(n_layers: u32) -> u32 {
    n_layers.div_ceil(4).max(2)
}

/// The numbers say more than the hash where they differ, so they come first.
fn check_model(file: &str, mut object: Object<'_>, model: &ModelIdentity) -> Result<(), Error> {
    let found = object.str("hash")?;
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if found.len() != model.hash.len() || !found.chars().all(is_digit) {
        let expected = format!("{} hexadecimal digits", model.hash.len());
        return Err(object.invalid("hash", &expected, found));
    }
    let architecture = object.str("architecture")?;
    if architecture != model.shape.architecture {
        let expected = format!("the model's own, {}", model.shape.architecture);
        return Err(object.invalid("architecture", &expected, architecture));
    }
    for (key, expected) in model.shape.numbers() {
        let found = object.u32(key, 0, u32::MAX)?;
        if found != expected {
            return Err(object.invalid(key, &format!("the model's own, {expected}"), found));
        }
    }
    object.finish()?;
    if found != model.hash {
        return Err(Error::OtherModel {
            file: file.to_owned(),
            expected: model.hash.clone(),
            found: found.to_owned(),
        });
    }
    Ok(())
}

fn router(mut object: Object<'_>) -> Result<RouterKind, Error> {
    let is_mlp = object.choice("kind", &[("linear", false), ("mlp", true)])?;
    let mut router = RouterKind::Linear;
    if is_mlp {
        let width = object.u32("width", 4, MAX_WIDTH)?;
        if !width.is_multiple_of(4) {
            return Err(object.invalid("width", "a multiple of 4", width));
        }
        router = RouterKind::Mlp { width };
    }
    object.finish()?;
    Ok(router)
}

fn effort(file: &str, mut object: Object<'_>) -> Result<Effort, Error> {
    let default = object.f32("default")?;
    let list = object.array("offsets")?;
    object.finish()?;
    let offsets = list.iter().enumerate().map(|(i, value)| {
        let mut entry = Object::entry(file, &format!("effort.offsets[{i}]"), value)?;
        let offsets = Offsets {
            effort: entry.f32("effort")?,
            attention: entry.f32("attention")?,
            ffn: entry.f32("ffn")?,
        };
        entry.finish()?;
        Ok(offsets)
    });
    let table = offsets.collect::<Result<_, Error>>()?;
    Effort::checked(default, table).map_err(|rule| rule.in_file(file))
}

fn layer(file: &str, key: &str, value: &Value, shape: &ModelShape) -> Result<LayerRanks, Error> {
    let mut object = Object::entry(file, key, value)?;
    let mut rank = |name| -> Result<Option<u32>, Error> {
        if object.get(name).is_none() {
            return Ok(None);
        }
        let (d_out, d_in) = shape.projection(name);
        let rank = object.u32(name, 4, d_out.min(d_in).max(4))?;
        if !rank.is_multiple_of(4) {
            return Err(object.invalid(name, "a multiple of 4", rank));
        }
        Ok(Some(rank))
    };
    let ranks = LayerRanks {
        q: rank("q")?,
        k: rank("k")?,
        v: rank("v")?,
        o: rank("o")?,
        gate: rank("gate")?,
        up: rank("up")?,
        down: rank("down")?,
    };
    object.finish()?;
    let found = |a: Option<u32>, b: Option<u32>| {
        let name = |rank: Option<u32>| rank.map_or("none".to_owned(), |rank| rank.to_string());
        format!("{} and {}", name(a), name(b))
    };
    if ranks.k.is_some() != ranks.v.is_some() {
        let expected = "k and v both with a rank or both without";
        return Err(Rule::new(key, expected, found(ranks.k, ranks.v)).in_file(file));
    }
    // The product of the two is one kernel call over one latent width.
    if ranks.gate != ranks.up {
        let expected = "gate and up with one rank or both without";
        return Err(Rule::new(key, expected, found(ranks.gate, ranks.up)).in_file(file));
    }
    Ok(ranks)
}

/// The file's value, which [`parse`] reads back.
pub(super) fn to_json(settings: &Settings, model: &ModelIdentity) -> Value {
    let Routing {
        router,
        dense_layers,
        dense_tokens,
        ref layers,
    } = settings.routing;
    let mut about = Map::new();
    about.insert("hash".to_owned(), json!(model.hash));
    about.insert("architecture".to_owned(), json!(model.shape.architecture));
    let numbers = model.shape.numbers();
    about.extend(numbers.map(|(key, number)| (key.to_owned(), json!(number))));
    let router = match router {
        RouterKind::Linear => json!({"kind": "linear"}),
        RouterKind::Mlp { width } => json!({"kind": "mlp", "width": width}),
    };
    let offsets = settings.effort.table().iter().map(|entry| {
        json!({
            "effort": decimal(entry.effort),
            "attention": decimal(entry.attention),
            "ffn": decimal(entry.ffn),
        })
    });
    let layers = layers.iter().map(|layer| {
        let ranks = layer.each().into_iter();
        let ranks = ranks.filter_map(|(name, rank)| Some((name.to_owned(), json!(rank?))));
        Value::Object(ranks.collect())
    });
    json!({
        "version": VERSION,
        "model": about,
        "dense_layers": dense_layers,
        "dense_tokens": dense_tokens,
        "router": router,
        "cache": settings.cache_name(),
        "factors": settings.factors.name(),
        "effort": {
            "default": decimal(settings.effort.default_effort()),
            "offsets": offsets.collect::<Vec<_>>(),
        },
        "layers": layers.collect::<Vec<_>>(),
        "calibration": settings.calibration,
    })
}

/// The f64 that is written like `x`.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}
