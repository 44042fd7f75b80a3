//! What `deputy fit` prints.

use std::path::Path;

use deputy::fit::{Fitted, Measured};
use serde_json::{Value, json};

use crate::output;

/// What was measured.
pub(crate) struct Efforts {
    /// The model without routes.
    pub(crate) dense: Measured,
    pub(crate) rows: Vec<Row>,
    /// Tokens that it was measured on.
    pub(crate) n_tokens: usize,
}

/// An effort, with what else costs as much.
pub(crate) struct Row {
    pub(crate) effort: f32,
    pub(crate) routed: Measured,
    /// The same shares of tokens, drawn at random.
    pub(crate) random: Option<Measured>,
    /// The same branches for all tokens, layer by layer.
    pub(crate) fixed: Option<Measured>,
    /// A router with factors of the weights alone.
    pub(crate) plain: Option<Measured>,
}

impl Row {
    fn baselines(&self) -> [(&'static str, Option<&Measured>); 3] {
        [
            ("random", self.random.as_ref()),
            ("static", self.fixed.as_ref()),
            ("plain", self.plain.as_ref()),
        ]
    }
}

pub(crate) fn text(fitted: &Fitted, efforts: &Efforts) -> String {
    let part = |value: f64| format!("{value:.4}");
    let mut linears = vec![heading(&["matrix", "shape", "rank", "captured", "error"])];
    linears.extend(fitted.report.linears.iter().map(|linear| {
        vec![
            format!("layers.{}.{}", linear.layer, linear.linear.name()),
            format!("{} x {}", linear.shape[0], linear.shape[1]),
            linear.rank.to_string(),
            part(linear.captured),
            part(linear.output_error),
        ]
    }));
    let branches = ["attention", "ffn low", "ffn skip"];
    let mut routers = vec![heading(&["router"])];
    routers[0].extend(branches.map(|branch| format!("R² {branch}")));
    routers[0].extend(branches.map(|branch| format!("error {branch}")));
    routers.extend(fitted.report.routers.iter().map(|router| {
        let mut line = vec![format!("layers.{}", router.layer)];
        line.extend(router.r2.iter().chain(&router.error).map(|&v| part(v)));
        line
    }));
    [linears, routers, measured(efforts)]
        .map(|lines| output::table(&lines))
        .join("\n")
}

fn heading(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// The model itself, then each effort.
fn measured(efforts: &Efforts) -> Vec<Vec<String>> {
    let Efforts { dense, rows, .. } = efforts;
    let names = ["effort", "perplexity", "of dense", "compute", "cache"];
    let mut lines = vec![heading(&names)];
    let branches = ["low attention", "low FFN", "skipped FFN"];
    lines[0].extend(branches.map(str::to_owned));
    let line = |name: String, found: &Measured| -> Vec<String> {
        let routes = &found.routes;
        vec![
            name,
            format!("{:.3}", found.perplexity),
            format!("x {:.3}", found.perplexity / dense.perplexity),
            format!("{:.3}", routes.compute),
            format!("{:.3}", found.cache),
            format!("{:.3}", routes.attention_low),
            format!("{:.3}", routes.ffn_low),
            format!("{:.3}", routes.ffn_skipped),
        ]
    };
    lines.push(line("dense".to_owned(), dense));
    for row in rows {
        lines.push(line(row.effort.to_string(), &row.routed));
        for (name, found) in row.baselines() {
            lines.extend(found.map(|found| line(format!("  {name}"), found)));
        }
    }
    lines
}

pub(crate) fn json(sidecar: &Path, fitted: &Fitted, efforts: &Efforts) -> Value {
    let linears = fitted.report.linears.iter().map(|linear| {
        json!({
            "layer": linear.layer,
            "linear": linear.linear.name(),
            "rank": linear.rank,
            "captured": linear.captured,
            "output_error": linear.output_error,
        })
    });
    let routers = fitted
        .report
        .routers
        .iter()
        .map(|router| json!({"layer": router.layer, "r2": router.r2, "error": router.error}));
    let offsets = fitted.effort.iter().map(|offset| {
        json!({
            "effort": offset.effort,
            "attention": offset.attention,
            "ffn": offset.ffn,
            "foreseen_compute": offset.share,
        })
    });
    let rows = efforts.rows.iter().map(|row| {
        let mut json = measured_json(&row.routed, efforts);
        // As it was written: 0.2, not the f32 next to it.
        json["effort"] = json!(row.effort.to_string().parse::<f64>().unwrap_or_default());
        for (name, found) in row.baselines() {
            if let Some(found) = found {
                json[name] = measured_json(found, efforts);
            }
        }
        json
    });
    json!({
        "out": sidecar,
        "tokens": fitted.report.n_tokens,
        "eval_tokens": efforts.n_tokens,
        "linears": linears.collect::<Vec<_>>(),
        "routers": routers.collect::<Vec<_>>(),
        "offsets": offsets.collect::<Vec<_>>(),
        "dense": measured_json(&efforts.dense, efforts),
        "efforts": rows.collect::<Vec<_>>(),
    })
}

fn measured_json(found: &Measured, efforts: &Efforts) -> Value {
    let mut json = output::routes_json(&found.routes);
    json["ppl"] = json!(found.perplexity);
    json["stderr"] = json!(found.standard_error);
    json["of_dense"] = json!(found.perplexity / efforts.dense.perplexity);
    json["cache"] = json!(found.cache);
    json
}
