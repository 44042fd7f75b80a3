//! What `deputy inspect` says of a model's sidecar.

use deputy::branch::Sidecar;
use deputy::graph::{LayerRanks, RouterKind};
use serde_json::{Map, Value, json};

use super::decimal;
use crate::output;

pub(super) fn as_text(sidecar: &Sidecar) -> String {
    let settings = &sidecar.settings;
    let routing = &settings.routing;
    let router = match routing.router {
        RouterKind::Linear => "linear".to_owned(),
        RouterKind::Mlp { width } => format!("mlp of width {width}"),
    };
    let efforts: Vec<String> = settings
        .effort
        .table()
        .iter()
        .map(|entry| entry.effort.to_string())
        .collect();
    let (factors, routers) = n_bytes(sidecar);
    let cells = |name: &str, value: String| vec![name.to_owned(), value];
    let always = format!(
        "the first {} and the first {} of a sequence",
        output::number(routing.dense_layers as usize, "layer"),
        output::number(routing.dense_tokens as usize, "token"),
    );
    let factors = format!(
        "{} in the file, {} on the device",
        output::bytes(factors),
        settings.factors.name()
    );
    let efforts = format!(
        "{} unless asked for; offsets at {}",
        settings.effort.default_effort(),
        efforts.join(", ")
    );
    let lines = [
        cells("sidecar", sidecar.name.clone()),
        cells("router", format!("{router}, {}", output::bytes(routers))),
        cells("always full", always),
        cells("factors", factors),
        cells("cache", settings.cache_name().to_owned()),
        cells("effort", efforts),
    ];
    let mut text = output::table(&lines);
    let names = LayerRanks::default().each().map(|(name, _)| name);
    let heading = ["ranks"].into_iter().chain(names).map(str::to_owned);
    let mut lines = vec![heading.collect()];
    let mut first = 0;
    // Neighbours with the same ranks share a line.
    for run in routing.layers.chunk_by(|a, b| a == b) {
        let last = first + run.len() - 1;
        let mut line = vec![match first == last {
            true => format!("layer {first}"),
            false => format!("layers {first} to {last}"),
        }];
        line.extend(run[0].each().map(|(_, rank)| match rank {
            Some(rank) => rank.to_string(),
            None => "-".to_owned(),
        }));
        lines.push(line);
        first = last + 1;
    }
    text += &format!("\n{}", output::table(&lines));
    text
}

pub(super) fn as_json(sidecar: &Sidecar) -> Value {
    let settings = &sidecar.settings;
    let routing = &settings.routing;
    let router = match routing.router {
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
    let layers = routing.layers.iter().map(|layer| {
        let ranks = layer.each().into_iter();
        let ranks = ranks.filter_map(|(name, rank)| Some((name.to_owned(), json!(rank?))));
        Value::Object(ranks.collect::<Map<_, _>>())
    });
    let (factors, routers) = n_bytes(sidecar);
    json!({
        "file": sidecar.name,
        "dense_layers": routing.dense_layers,
        "dense_tokens": routing.dense_tokens,
        "router": router,
        "cache": settings.cache_name(),
        "factors": settings.factors.name(),
        "factor_bytes": factors,
        "router_bytes": routers,
        "effort": {
            "default": decimal(settings.effort.default_effort()),
            "offsets": offsets.collect::<Vec<_>>(),
        },
        "layers": layers.collect::<Vec<_>>(),
        "calibration": settings.calibration,
    })
}

/// Bytes of the factors and of the routers in the file.
fn n_bytes(sidecar: &Sidecar) -> (u64, u64) {
    let factors = sidecar.tensors().values();
    let factors = factors
        .filter(|tensor| tensor.name.ends_with(".B") || tensor.name.ends_with(".D"))
        .map(|tensor| tensor.n_bytes())
        .sum();
    (factors, sidecar.n_bytes() - factors)
}
