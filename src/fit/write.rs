//! The sidecar's two files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{DEFAULT_EFFORT, Error, Fitted};
use crate::file::{self, Declaration, SafetensorsWriter};
use crate::graph::{CacheMode, RouterKind};
use crate::model::Config;
use crate::tensor::{DType, Shape};

/// The sidecar's files in the order in which they are put into place: without the last there is
/// no sidecar.
const FILES: [&str; 2] = ["deputy.safetensors", "deputy.json"];

/// Writes `deputy.safetensors` and `deputy.json` into the folder `out`, which is made where it is
/// missing. They are written to `out` with `.partial` behind it and moved when they are whole;
/// nothing new is left where that fails.
///
/// # Errors
/// [`file::Error::Io`] where a file cannot be written or moved.
pub fn write(fitted: &Fitted, config: &Config, cache: CacheMode, out: &Path) -> Result<(), Error> {
    // Without a slash at its end.
    let mut partial: PathBuf = out.components().collect();
    partial.as_mut_os_string().push(".partial");
    let result = write_to(fitted, config, cache, &partial).and_then(|()| place(&partial, out));
    // Whatever is left of it; the first error is the one that matters.
    let _ = fs::remove_dir_all(&partial);
    result
}

fn write_to(
    fitted: &Fitted,
    config: &Config,
    cache: CacheMode,
    folder: &Path,
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    let [tensors, json] = FILES.map(|name| folder.join(name));
    let declare = |tensor: &super::Tensor| Declaration {
        name: tensor.name.clone(),
        dtype: DType::F32,
        shape: Shape(tensor.shape.clone()),
    };
    let declarations: Vec<Declaration> = fitted.tensors.iter().map(declare).collect();
    let out = BufWriter::new(File::create(&tensors).map_err(io(&tensors))?);
    let name = tensors.display().to_string();
    let mut writer = SafetensorsWriter::new(&name, out, &BTreeMap::new(), &declarations)?;
    for tensor in &fitted.tensors {
        writer.write(&tensor.name, bytemuck::cast_slice(&tensor.values))?;
    }
    writer.finish()?;
    let text = format!("{:#}\n", description(fitted, config, cache));
    Ok(fs::write(&json, text).map_err(io(&json))?)
}

/// Moves the files to their places; takes back what it has made where one cannot be moved.
fn place(from: &Path, to: &Path) -> Result<(), Error> {
    let is_new = !to.exists();
    fs::create_dir_all(to).map_err(io(to))?;
    let targets = FILES.map(|name| to.join(name));
    let were_there = targets.each_ref().map(|target| target.exists());
    for (i, name) in FILES.into_iter().enumerate() {
        let moved = fs::rename(from.join(name), &targets[i]).map_err(io(&targets[i]));
        if let Err(error) = moved {
            for (target, was_there) in targets[..i].iter().zip(were_there) {
                if !was_there {
                    let _ = fs::remove_file(target);
                }
            }
            if is_new {
                let _ = fs::remove_dir(to);
            }
            return Err(error.into());
        }
    }
    Ok(())
}

/// The content of `deputy.json`.
fn description(fitted: &Fitted, config: &Config, cache: CacheMode) -> Value {
    let routing = &fitted.routing;
    let router = match routing.router {
        RouterKind::Linear => json!({"kind": "linear"}),
        RouterKind::Mlp { width } => json!({"kind": "mlp", "width": width}),
    };
    let cache = match cache {
        CacheMode::Dense => "dense",
        CacheMode::LatentV => "latent-v",
        CacheMode::Latent => "latent",
    };
    let layers: Vec<Value> = routing
        .layers
        .iter()
        .map(|ranks| {
            let ranks = ranks.each().into_iter();
            let ranks = ranks.filter_map(|(name, rank)| Some((name.to_owned(), json!(rank?))));
            Value::Object(ranks.collect::<Map<_, _>>())
        })
        .collect();
    let offsets: Vec<Value> = fitted
        .effort
        .iter()
        .map(|o| json!({"effort": o.effort, "attention": o.attention, "ffn": o.ffn}))
        .collect();
    let shares: Vec<f64> = fitted.effort.iter().map(|offset| offset.share).collect();
    let report = &fitted.report;
    let linears: Map<String, Value> = report
        .linears
        .iter()
        .map(|linear| {
            let name = format!("layers.{}.{}", linear.layer, linear.linear.name());
            (name, json!(linear.output_error))
        })
        .collect();
    let r2: Map<String, Value> = report
        .routers
        .iter()
        .map(|router| (format!("layers.{}", router.layer), json!(router.r2)))
        .collect();
    json!({
        "version": 1,
        "model": {
            "hash": "",
            "architecture": config.architecture.name,
            "n_layers": config.n_layers,
            "dim": config.dim,
            "ffn_dim": config.ffn_dim,
            "n_heads": config.n_heads,
            "n_kv_heads": config.n_kv_heads,
            "head_dim": config.head_dim,
        },
        "dense_layers": routing.dense_layers,
        "dense_tokens": routing.dense_tokens,
        "router": router,
        "cache": cache,
        "factors": "auto",
        "effort": {"default": DEFAULT_EFFORT, "offsets": offsets},
        "layers": layers,
        "calibration": {
            "texts": report.texts,
            "tokens": report.n_tokens,
            "compute_shares": shares,
            "output_errors": linears,
            "router_r2": r2,
        },
    })
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> file::Error {
    let file = path.display().to_string();
    move |cause| file::Error::Io { file, cause }
}
