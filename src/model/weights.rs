//! Where each parameter of a graph lies in a model's file.

use std::collections::{BTreeSet, HashSet};

use super::{Config, Error, Layout, names};
use crate::file::{ModelFile, TensorInfo};
use crate::graph::{Graph, PREFIX};
use crate::tensor::DType;

/// A parameter's tensor, checked against the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSource {
    /// The tensor.
    pub tensor: TensorInfo,
    /// Type of its elements.
    pub dtype: DType,
}

/// Names in messages, at most.
const MAX_LISTED: usize = 5;

/// Tensors that older exporters wrote and that hold nothing of the model's own.
const IGNORED: &[&str] = &[
    "rotary_emb.inv_freq",
    "rope_freqs.weight",
    "attention.masked_bias",
];

/// Finds every parameter, by the graph's order, and what is left over, but for what has been `read` already.
pub(super) fn find(
    file: &ModelFile,
    config: &Config,
    graph: &Graph,
    read: &BTreeSet<String>,
) -> Result<(Vec<WeightSource>, Vec<String>), Error> {
    let mut found = vec![];
    let mut missing = vec![];
    let mut used = HashSet::new();
    for weight in graph.weights() {
        let name = match config.layout {
            Layout::HuggingFace => weight.name.clone(),
            Layout::Gguf => names::gguf(&weight.name).unwrap_or_else(|| weight.name.clone()),
        };
        let Some(tensor) = file.tensors.get(&name) else {
            missing.push(name);
            continue;
        };
        let (rows, cols) = (weight.rows as usize, weight.cols as usize);
        let expected = if weight.is_vector {
            vec![cols]
        } else {
            vec![rows, cols]
        };
        if tensor.shape.0 != expected {
            return Err(Error::Shape {
                file: file.file_of(tensor).to_owned(),
                tensor: name,
                expected: format!("{expected:?}"),
                found: tensor.shape.to_string(),
            });
        }
        used.insert(name);
        found.push(WeightSource {
            dtype: file.dtype(tensor)?,
            tensor: tensor.clone(),
        });
    }
    if !missing.is_empty() {
        let mut list = missing[..missing.len().min(MAX_LISTED)].join(", ");
        if missing.len() > MAX_LISTED {
            list.push_str(", …");
        }
        return Err(Error::MissingTensors {
            file: file.name.clone(),
            architecture: config.architecture.name,
            n: missing.len(),
            list,
        });
    }
    let unused = file
        .tensors
        .keys()
        .filter(|name| !used.contains(*name) && !read.contains(*name))
        .filter(|name| !IGNORED.iter().any(|ignored| name.ends_with(ignored)))
        // The sidecar answers for its own.
        .filter(|name| !name.starts_with(PREFIX))
        .cloned()
        .collect();
    Ok((found, unused))
}
