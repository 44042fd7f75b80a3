//! FlattenQuant's part of a model's file: how the inputs of linears become integers.
//!
//! A flattened model is a model like any other, with linears in `q8_0` or `q4_0` all of whose blocks of a row have
//! one scale, and smoothing folded into its norms. For each input of a layer that products of integers take
//! (`attention` that of q, k and v, `output` that of o, `ffn` that of gate and up, `down` that of down) it has
//!
//! * `flat.layers.N.INPUT.copies`, f32 of the input's columns: how many columns of integers each of them becomes, a
//!   whole number from 1 to [`MAX_COPIES`];
//! * `flat.layers.N.INPUT.scale`, f32 of one element: what an integer of 1 stands for, `T / 127` for the cap T. Without
//!   it each row has its own.
//!
//! [`Flat`] says what is made of them: FlattenQuant's table `src` is the columns in the order of [`Flat::table`], and
//! its `lo` is the copy's number times 127. An engine that knows none of this runs the same model with products of
//! other numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, Error, WeightSource};
use crate::file::{ElementType, ModelFile};
use crate::graph::{Flat, Graph, MAX_COLUMNS, MAX_COPIES, Op};
use crate::tensor::DType;

/// What the names of these tensors begin with.
pub const FLAT_PREFIX: &str = "flat.";

/// The inputs of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlatInput {
    /// Of q, k and v.
    Attention,
    /// Of o.
    Output,
    /// Of gate and up.
    Ffn,
    /// Of down.
    Down,
}

impl FlatInput {
    /// All of them, in the order of a layer.
    pub const ALL: [Self; 4] = [Self::Attention, Self::Output, Self::Ffn, Self::Down];

    /// Its name in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Output => "output",
            Self::Ffn => "ffn",
            Self::Down => "down",
        }
    }

    /// Its columns.
    pub fn cols(self, config: &Config) -> usize {
        let cols = match self {
            Self::Attention | Self::Ffn => config.dim,
            Self::Output => config.n_heads * config.head_dim,
            Self::Down => config.ffn_dim,
        };
        cols as usize
    }

    /// The name of a tensor: `copies` or `scale`.
    pub fn tensor(self, layer: u32, what: &str) -> String {
        format!("{FLAT_PREFIX}layers.{layer}.{}.{what}", self.name())
    }
}

/// What a file has of these, by layer and input, with the names of the tensors.
#[derive(Debug, Default)]
pub(super) struct Flats {
    pub(super) inputs: BTreeMap<(u32, FlatInput), Flat>,
    pub(super) names: BTreeSet<String>,
}

/// Reads them all.
pub(super) async fn read(file: &ModelFile, config: &Config) -> Result<Flats, Error> {
    let mut flats = Flats::default();
    if !file
        .tensors
        .keys()
        .any(|name| name.starts_with(FLAT_PREFIX))
    {
        return Ok(flats);
    }
    for layer in 0..config.n_layers {
        for input in FlatInput::ALL {
            let [copies_name, scale_name] =
                ["copies", "scale"].map(|what| input.tensor(layer, what));
            let scale = read_vector(file, &scale_name, 1).await?;
            let Some(values) = read_vector(file, &copies_name, input.cols(config)).await? else {
                match scale {
                    None => continue,
                    Some(_) => return Err(missing(file, config, copies_name)),
                }
            };
            let flat = Flat {
                copies: copies(file, &copies_name, &values)?,
                scale: scale.as_ref().map(|scale| scale[0]),
            };
            let invalid = |name: &str, expected: String, found: String| Error::Invalid {
                file: file.name.clone(),
                key: format!("tensor {name:?}"),
                expected,
                found,
            };
            if let Some(found) = flat.scale
                && !(found.is_normal() && found > 0.0 && (1.0 / found).is_normal())
            {
                let expected = "a finite number above zero".to_owned();
                return Err(invalid(&scale_name, expected, found.to_string()));
            }
            let n_columns = 32 * (flat.blocks() + flat.extra_blocks());
            if n_columns > MAX_COLUMNS {
                let expected = format!("at most {MAX_COLUMNS} columns with their copies");
                return Err(invalid(&copies_name, expected, n_columns.to_string()));
            }
            flats.inputs.insert((layer, input), flat);
            flats.names.extend([copies_name, scale_name]);
        }
    }
    Ok(flats)
}

/// Sees to it that linears whose input becomes integers are stored in a format that goes with them.
pub(super) fn check(
    file: &ModelFile,
    graph: &Graph,
    weights: &[WeightSource],
) -> Result<(), Error> {
    for node in graph.nodes() {
        let Op::Linear {
            parts,
            flat: Some(_),
            ..
        } = &node.op
        else {
            continue;
        };
        for part in parts {
            let source = &weights[part.weight.0 as usize];
            if !matches!(source.dtype, DType::Q8_0 | DType::Q4_0) {
                return Err(Error::Invalid {
                    file: file.file_of(&source.tensor).to_owned(),
                    key: format!("tensor {:?}", source.tensor.name),
                    expected: "q8_0 or q4_0, since the model is flattened".to_owned(),
                    found: source.dtype.to_string(),
                });
            }
        }
    }
    Ok(())
}

async fn read_vector(file: &ModelFile, name: &str, len: usize) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = file.tensors.get(name) else {
        return Ok(None);
    };
    if tensor.shape.0 != [len] || tensor.dtype != ElementType::Known(DType::F32) {
        return Err(Error::Shape {
            file: file.file_of(tensor).to_owned(),
            tensor: name.to_owned(),
            expected: format!("[{len}] of f32"),
            found: format!("{} of {}", tensor.shape, tensor.dtype),
        });
    }
    let mut bytes = vec![0; 4 * len];
    file.read(tensor, 0..4 * len as u64, &mut bytes).await?;
    Ok(Some(bytemuck::pod_collect_to_vec(&bytes)))
}

fn copies(file: &ModelFile, name: &str, values: &[f32]) -> Result<Vec<u8>, Error> {
    let one = |(column, &value): (usize, &f32)| {
        if value.fract() == 0.0 && (1.0..=f32::from(MAX_COPIES)).contains(&value) {
            return Ok(value as u8);
        }
        Err(Error::Invalid {
            file: file.name.clone(),
            key: format!("tensor {name:?}, column {column}"),
            expected: format!("a whole number from 1 to {MAX_COPIES}"),
            found: value.to_string(),
        })
    };
    values.iter().enumerate().map(one).collect()
}

fn missing(file: &ModelFile, config: &Config, name: String) -> Error {
    Error::MissingTensors {
        file: file.name.clone(),
        architecture: config.architecture.name,
        n: 1,
        list: name,
    }
}
