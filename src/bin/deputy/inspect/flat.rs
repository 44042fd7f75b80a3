//! How a flattened model's inputs become integers.

use deputy::graph::{Flat, Op};
use deputy::model::Model;
use deputy::tensor::DType;
use serde_json::{Value, json};

use crate::output;

/// An input of linears, by the name of the first one that reads it.
struct Input<'a> {
    reader: &'a str,
    flat: &'a Flat,
    /// Multiply-adds of a row, and those with 4-bit weights among them.
    macs: [u64; 2],
}

fn inputs(model: &Model) -> Vec<Input<'_>> {
    let graph = &model.graph;
    let nodes = graph.nodes().iter();
    let found = nodes.filter_map(|node| match &node.op {
        Op::Linear {
            parts,
            flat: Some(flat),
            ..
        } => {
            let mut macs = [0, 0];
            for part in parts {
                let weight = &graph.weights()[part.weight.0 as usize];
                let n = u64::from(weight.rows) * u64::from(weight.cols);
                macs[0] += n;
                if model.weights[part.weight.0 as usize].dtype == DType::Q4_0 {
                    macs[1] += n;
                }
            }
            Some(Input {
                reader: &graph.weights()[parts.first()?.weight.0 as usize].name,
                flat: &graph.flats()[flat.0 as usize],
                macs,
            })
        }
        _ => None,
    });
    found.collect()
}

/// Part of the multiply-adds with 4-bit weights.
fn int4_share(inputs: &[Input<'_>]) -> f64 {
    let sum = |at: usize| inputs.iter().map(|input| input.macs[at]).sum::<u64>() as f64;
    sum(1) / sum(0)
}

/// Columns of integers in parts of those of values.
fn expansion(inputs: &[Input<'_>]) -> f64 {
    let sum = |of: fn(&Flat) -> usize| inputs.iter().map(|input| of(input.flat)).sum::<usize>();
    sum(Flat::n_columns) as f64 / sum(|flat| flat.copies.len()) as f64
}

/// A line, where the model is flattened.
pub(super) fn as_text(model: &Model) -> Option<String> {
    let inputs = inputs(model);
    let first = inputs.first()?;
    let scales = match first.flat.scale {
        Some(_) => "one scale",
        None => "a scale a row",
    };
    Some(format!(
        "flattened      {} with {:.3} times the columns, {scales}; {:.1} % of the multiply-adds with 4-bit weights\n",
        output::number(inputs.len(), "input"),
        expansion(&inputs),
        100.0 * int4_share(&inputs),
    ))
}

pub(super) fn as_json(model: &Model) -> Value {
    let inputs = inputs(model);
    if inputs.is_empty() {
        return Value::Null;
    }
    let each = inputs.iter().map(|input| {
        json!({
            "reader": input.reader, "cols": input.flat.copies.len(),
            "columns": input.flat.n_columns(), "scale": input.flat.scale,
        })
    });
    json!({
        "expansion": expansion(&inputs), "int4_share": int4_share(&inputs),
        "inputs": each.collect::<Vec<_>>(),
    })
}
