//! LoRA adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter changes a projection W into `W + s·B·A`. What PEFT can do beyond that is refused by
//! the name of its key, so that no adapter is taken for what it is not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::object::Object;
use super::tensors::{self, Slot};
use super::{Error, ModelShape, Rule};
use crate::file::{self, ByteSource, Folder, TensorInfo, read_json, read_safetensors};
use crate::graph::LayerRanks;
use crate::tensor::{DType, Shape};

/// The file that makes a folder an adapter.
pub const LORA_CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const MAX_CONFIG: u64 = 1 << 20;
const MAX_RANK: u32 = 65_536;

/// An adapter that fits its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Rows of each A.
    pub rank: u32,
    /// What `B·A` is multiplied with.
    pub scale: f32,
    /// By layer: the pairs of q, k, v, o, gate, up and down, in the order of [`LayerRanks::each`].
    pub layers: Vec<[Option<LoraPair>; 7]>,
}

/// The two matrices of a projection, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair {
    /// `[rank, d_in]`
    pub a: Vec<f32>,
    /// `[d_out, rank]`
    pub b: Vec<f32>,
}

/// Our names and those of the modules, in the order of [`LayerRanks::each`].
const MODULES: [(&str, &str); 7] = [
    ("q", "self_attn.q_proj"),
    ("k", "self_attn.k_proj"),
    ("v", "self_attn.v_proj"),
    ("o", "self_attn.o_proj"),
    ("gate", "mlp.gate_proj"),
    ("up", "mlp.up_proj"),
    ("down", "mlp.down_proj"),
];

/// Keys that say where an adapter came from, how it was trained or what other keys have in detail.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Ways to begin training that leave the model's own weights alone.
const PLAIN_STARTS: &[&str] = &["gaussian", "orthogonal", "eva"];

impl Lora {
    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// What is wrong with it, does not fit the model or is more than `W + s·B·A`.
    pub async fn open(folder: &dyn Folder, model: &ModelShape) -> Result<Self, Error> {
        let absent = |looked_for| file::Error::NotAModel {
            path: folder.name().to_owned(),
            looked_for,
        };
        let source = folder.open(LORA_CONFIG).await?;
        let source = source.ok_or_else(|| absent("adapter_config.json of a PEFT adapter"))?;
        let value = read_json(&*source, MAX_CONFIG).await?;
        let Config {
            rank,
            scale,
            modules,
        } = config(source.name(), &value)?;

        let Some(source) = folder.open(WEIGHTS).await? else {
            let found = "adapter_model.bin";
            if folder.open(found).await?.is_some() {
                let folder = folder.name().to_owned();
                return Err(file::Error::PytorchOnly { folder, found }.into());
            }
            return Err(absent("adapter_model.safetensors beside adapter_config.json").into());
        };
        let mut found = read_safetensors(&*source).await?;
        let mut layers = vec![];
        for n in 0..model.n_layers {
            let mut layer = [const { None }; 7];
            for (pair, (name, module)) in layer.iter_mut().zip(MODULES) {
                if !modules.contains(name) {
                    continue;
                }
                let (d_out, d_in) = model.projection(name);
                let stem = format!("base_model.model.model.layers.{n}.{module}");
                let (a, b) = (
                    format!("{stem}.lora_A.weight"),
                    format!("{stem}.lora_B.weight"),
                );
                *pair = Some(LoraPair {
                    a: take(&*source, &mut found, a, [rank, d_in]).await?,
                    b: take(&*source, &mut found, b, [d_out, rank]).await?,
                });
            }
            layers.push(layer);
        }
        match found.keys().next() {
            Some(name) => Err(tensors::unexpected(source.name(), name)),
            None => Ok(Self {
                rank,
                scale,
                layers,
            }),
        }
    }

    /// The pair of a layer's projection, by its name in a sidecar.
    pub fn pair(&self, layer: usize, name: &str) -> Option<&LoraPair> {
        let index = MODULES.iter().position(|(own, _)| *own == name)?;
        self.layers.get(layer)?[index].as_ref()
    }

    /// Its rank for each projection that it changes, as a sidecar would have it.
    pub fn ranks(&self, layer: usize) -> LayerRanks {
        let rank = |name| self.pair(layer, name).map(|_| self.rank);
        LayerRanks {
            q: rank("q"),
            k: rank("k"),
            v: rank("v"),
            o: rank("o"),
            gate: rank("gate"),
            up: rank("up"),
            down: rank("down"),
        }
    }
}

/// Takes the values of a tensor that must be there.
async fn take(
    source: &dyn ByteSource,
    found: &mut BTreeMap<String, TensorInfo>,
    name: String,
    shape: [u32; 2],
) -> Result<Vec<f32>, Error> {
    let slot = Slot {
        name,
        shape: Shape(shape.map(|n| n as usize).to_vec()),
        dtype: DType::F32,
    };
    let file = source.name();
    let tensor = found.remove(&slot.name);
    let tensor = tensor.ok_or_else(|| tensors::missing(file, &slot))?;
    tensors::check_shape(file, &slot, &tensor.shape)?;
    tensors::values(source, &tensor).await
}

/// What of `adapter_config.json` matters.
struct Config {
    rank: u32,
    scale: f32,
    modules: BTreeSet<&'static str>,
}

fn config(file: &str, value: &Value) -> Result<Config, Error> {
    let mut root = Object::root(file, value)?;
    root.choice("peft_type", &[("LORA", ())])?;
    if root.get("bias").is_some() {
        root.choice("bias", &[("none", ())])?;
    }
    let rank = root.u32("r", 1, MAX_RANK)?;
    let alpha = root.f32("lora_alpha")?;
    let is_root = switch(&mut root, "use_rslora")?;
    if switch(&mut root, "fan_in_fan_out")? {
        return Err(root.invalid("fan_in_fan_out", "false", true));
    }
    let start = root.get("init_lora_weights");
    let is_plain = match start {
        None | Some(Value::Bool(_) | Value::Null) => true,
        Some(other) => other.as_str().is_some_and(|s| PLAIN_STARTS.contains(&s)),
    };
    if let Some(start) = start.filter(|_| !is_plain) {
        let expected =
            "a start that leaves the model's weights as they are; save the adapter as a plain one";
        return Err(root.invalid("init_lora_weights", expected, start));
    }
    let modules = modules(file, root.array("target_modules")?)?;
    for key in WITHOUT_EFFECT {
        root.get(key);
    }
    // PEFT writes out every key that it knows; those at rest say nothing.
    if let Some((key, value)) = root.others().find(|(_, value)| !is_at_rest(value)) {
        let key = file::brief(key);
        return Err(root.invalid(
            &key,
            "nothing; no more than r, lora_alpha and use_rslora is supported",
            value,
        ));
    }
    let n = rank as f32;
    Ok(Config {
        rank,
        scale: alpha / if is_root { n.sqrt() } else { n },
        modules,
    })
}

/// A boolean that is false where it is absent.
fn switch(object: &mut Object<'_>, key: &'static str) -> Result<bool, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_on)) => Ok(*is_on),
        Some(other) => Err(object.invalid(key, "true or false", other)),
    }
}

fn is_at_rest(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The projections that are named: `q_proj` or a longer name's end.
fn modules(file: &str, list: &[Value]) -> Result<BTreeSet<&'static str>, Error> {
    let mut modules = BTreeSet::new();
    for (i, value) in list.iter().enumerate() {
        let name = value.as_str().unwrap_or_default();
        let is_named = |(_, module): &&(&str, &'static str)| {
            let last = module.rsplit('.').next();
            name == *module || Some(name) == last
        };
        let found = MODULES.iter().find(is_named).ok_or_else(|| {
            let expected = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj or down_proj";
            Rule::new(format!("target_modules[{i}]"), expected, value).in_file(file)
        })?;
        modules.insert(found.0);
    }
    if modules.is_empty() {
        let expected = "the name of a projection at least";
        return Err(Rule::new("target_modules", expected, "none").in_file(file));
    }
    Ok(modules)
}
