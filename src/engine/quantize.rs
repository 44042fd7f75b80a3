//! Writes a model again with quantised weights.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::load::{Slabs, convert, not_finite};
use super::{Progress, WeightFormat, model_shape, sidecar};
use crate::branch::{Draft, FactorFormat, ModelIdentity, ModelShape};
use crate::error::Error;
use crate::file::{
    self, Declaration, DirFolder, ElementType, FileSource, GgufWriter, HuggingFace, Metadata,
    ModelFile, SafetensorsWriter, TensorInfo, gguf, quantization_config,
};
use crate::model::{Config, Model, WeightSource};
use crate::tensor::DType;
use crate::tensor::quant::first_non_finite;

/// Writes `file` with its matrices in `format` to `out`: a folder from a folder, a GGUF file from a
/// GGUF file. Rows that no whole number of blocks fills stay as they are. A sidecar goes along, for the
/// copy. Nothing is left at `out` where it fails.
///
/// # Errors
/// What is wrong with the model; [`file::Error::Io`] where `out` exists or cannot be written.
pub async fn quantize(
    file: &ModelFile,
    format: WeightFormat,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let draft = match sidecar(file, &Config::read(file)?).await? {
        Some(sidecar) => {
            let mut draft = sidecar.draft().await?;
            // What is quantised already stays as it is, as the model's own matrices do.
            if !draft.stored.is_quantized() {
                draft.stored = stored(draft.settings.factors, format);
            }
            Some(draft)
        }
        None => None,
    };
    let quantized = Rewrite {
        format,
        replaced: &BTreeMap::new(),
        added: &[],
        draft,
    };
    rewrite(file, &quantized, out, progress).await
}

/// How a model is written again.
pub(crate) struct Rewrite<'a> {
    /// Format of the matrices.
    pub(crate) format: WeightFormat,
    /// Tensors that become others of their shape, by name.
    pub(crate) replaced: &'a BTreeMap<String, (DType, Vec<u8>)>,
    /// Further tensors.
    pub(crate) added: &'a [(Declaration, Vec<u8>)],
    /// The copy's sidecar.
    pub(crate) draft: Option<Draft>,
}

/// Writes a model again; see [`quantize`].
pub(crate) async fn rewrite(
    file: &ModelFile,
    rewrite: &Rewrite<'_>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let model = Model::open(file, None).await?;
    let plan = plan(file, &model, rewrite);
    let io = |path: &Path| {
        let name = path.display().to_string();
        move |cause| file::Error::Io { file: name, cause }
    };
    if out.exists() {
        return Err(io(out)(std::io::ErrorKind::AlreadyExists.into()).into());
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let result = match &file.metadata {
        Metadata::Gguf(metadata) => write_gguf(file, metadata, &plan, &partial, progress).await,
        Metadata::HuggingFace(metadata) => {
            write_folder(file, metadata, &plan, &partial, progress).await
        }
    };
    let result = result.and_then(|()| Ok(fs::rename(&partial, out).map_err(io(out))?));
    let result = match (result, &rewrite.draft) {
        (Ok(()), Some(draft)) => {
            let written = write_sidecar(draft, model_shape(&model.config), out).await;
            written.inspect_err(|_| remove(out))
        }
        (result, _) => result,
    };
    result.inspect_err(|_| remove(&partial))
}

/// A file or a folder, whichever it is; the error that led here is the one that matters.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
}

/// The type that a sidecar's matrices are stored in: the one that they take on the device.
fn stored(factors: FactorFormat, weights: WeightFormat) -> DType {
    match (factors, weights) {
        (FactorFormat::Q8, _) | (FactorFormat::Auto, WeightFormat::Q8) => DType::Q8_0,
        (FactorFormat::Q4, _) | (FactorFormat::Auto, WeightFormat::Q4) => DType::Q4_0,
        _ => DType::F16,
    }
}

/// Writes the sidecar of the copy at `out`.
async fn write_sidecar(draft: &Draft, shape: ModelShape, out: &Path) -> Result<(), Error> {
    let copy = if out.is_dir() {
        ModelFile::open_folder(Arc::new(DirFolder::new(out))).await?
    } else {
        ModelFile::open_gguf(Arc::new(FileSource::open(out)?)).await?
    };
    let identity = ModelIdentity::of(&copy, shape).await?;
    Ok(draft.write(&identity, out)?)
}

/// What is written.
struct Plan<'a> {
    /// Tensors of the file, each with its type, its new type, and its bytes if they are not made of the file's.
    tensors: Vec<(&'a TensorInfo, DType, DType, Option<&'a [u8]>)>,
    added: &'a [(Declaration, Vec<u8>)],
}

fn plan<'a>(file: &'a ModelFile, model: &Model, rewrite: &Rewrite<'a>) -> Plan<'a> {
    let weights = model.graph.weights().iter().zip(&model.weights);
    let matrices: HashMap<&str, DType> = weights
        .filter(|(weight, _)| !weight.is_vector)
        .map(|(weight, source)| {
            (
                source.tensor.name.as_str(),
                rewrite.format.dtype(weight, source.dtype),
            )
        })
        .collect();
    let mut tensors = vec![];
    for (name, tensor) in &file.tensors {
        // What is of an unknown type is not needed, or opening the model would have failed.
        let ElementType::Known(stored) = tensor.dtype else {
            continue;
        };
        if let Some((dtype, bytes)) = rewrite.replaced.get(name) {
            tensors.push((tensor, stored, *dtype, Some(&bytes[..])));
            continue;
        }
        let cols = tensor.shape.0.last().copied().unwrap_or(0);
        let wanted = matrices.get(name.as_str()).copied().unwrap_or(stored);
        let dtype = if wanted.row_bytes(cols).is_some() {
            wanted
        } else {
            stored
        };
        tensors.push((tensor, stored, dtype, None));
    }
    Plan {
        tensors,
        added: rewrite.added,
    }
}

async fn write_gguf(
    file: &ModelFile,
    metadata: &gguf::Metadata,
    plan: &Plan<'_>,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let has = |dtype| plan.tensors.iter().any(|&(_, _, to, _)| to == dtype);
    // The numbers of llama.cpp's file types.
    let file_type = if has(DType::Q4_0) { 2 } else { 7 };
    let mut pairs = metadata.entries().to_vec();
    for (key, value) in &mut pairs {
        if key == "general.file_type" {
            *value = gguf::Value::U32(file_type);
        }
    }
    let name = path.display().to_string();
    let mut writer = GgufWriter::new(&name, create(path)?, &pairs, &declarations(plan))?;
    write_tensors(
        file,
        plan,
        &mut |tensor, bytes| writer.write(tensor, bytes),
        progress,
    )
    .await?;
    finish(&name, writer.finish()?)
}

async fn write_folder(
    file: &ModelFile,
    metadata: &HuggingFace,
    plan: &Plan<'_>,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|cause| file::Error::Io {
            file: path.display().to_string(),
            cause,
        })
    };
    let pretty = |value| serde_json::to_vec_pretty(value).expect("JSON values can be written");
    fs::create_dir_all(folder).map_err(|cause| file::Error::Io {
        file: folder.display().to_string(),
        cause,
    })?;
    let quantized = plan
        .tensors
        .iter()
        .filter(|(_, _, to, _)| to.is_quantized());
    let listed =
        quantization_config(quantized.map(|(tensor, _, to, _)| (tensor.name.as_str(), *to)));
    let mut config = metadata.config.clone();
    config["quantization_config"] = listed;
    write("config.json", &pretty(&config))?;
    for (name, value) in [
        ("generation_config.json", &metadata.generation_config),
        ("tokenizer_config.json", &metadata.tokenizer_config),
        ("special_tokens_map.json", &metadata.special_tokens_map),
    ] {
        if let Some(value) = value {
            write(name, &pretty(value))?;
        }
    }
    if let Some(tokenizer) = &metadata.tokenizer {
        write("tokenizer.json", tokenizer)?;
    }
    if let Some(template) = &metadata.chat_template {
        write("chat_template.jinja", template.as_bytes())?;
    }
    let path = folder.join("model.safetensors");
    let name = path.display().to_string();
    let about = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::new(&name, create(&path)?, &about, &declarations(plan))?;
    write_tensors(
        file,
        plan,
        &mut |tensor, bytes| writer.write(tensor, bytes),
        progress,
    )
    .await?;
    finish(&name, writer.finish()?)
}

fn declarations(plan: &Plan<'_>) -> Vec<Declaration> {
    let tensors = plan
        .tensors
        .iter()
        .map(|&(tensor, _, dtype, _)| Declaration {
            name: tensor.name.clone(),
            dtype,
            shape: tensor.shape.clone(),
        });
    let added = plan
        .added
        .iter()
        .map(|(declaration, _)| declaration.clone());
    tensors.chain(added).collect()
}

fn create(path: &Path) -> Result<BufWriter<File>, file::Error> {
    let file = File::create_new(path).map_err(|cause| file::Error::Io {
        file: path.display().to_string(),
        cause,
    })?;
    Ok(BufWriter::new(file))
}

fn finish(name: &str, mut out: BufWriter<File>) -> Result<(), Error> {
    let done = out.flush().and_then(|()| out.get_ref().sync_all());
    done.map_err(|cause| file::Error::Io {
        file: name.to_owned(),
        cause,
    })?;
    Ok(())
}

/// Appends bytes of a tensor to the output.
type WriteTensor<'a> = dyn FnMut(&str, &[u8]) -> Result<(), file::Error> + 'a;

async fn write_tensors(
    file: &ModelFile,
    plan: &Plan<'_>,
    write: &mut WriteTensor<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let total = plan
        .tensors
        .iter()
        .map(|(tensor, ..)| tensor.n_bytes())
        .sum();
    let mut done = 0;
    for &(tensor, from, to, bytes) in &plan.tensors {
        if let Some(bytes) = bytes {
            write(&tensor.name, bytes)?;
            done += tensor.n_bytes();
            progress(Progress { done, total });
            continue;
        }
        let (rows, cols) = tensor.shape.rows_cols().unwrap_or((1, 1));
        let source = WeightSource {
            tensor: tensor.clone(),
            dtype: from,
        };
        let mut slabs = Slabs::new(file, &source, rows as u32, cols as u32);
        while let Some(slab) = slabs.next().await? {
            let rows = slab.bytes.par_chunks_exact(slab.row_bytes.max(1));
            let converted: Vec<Result<Vec<u8>, usize>> = rows
                .enumerate()
                .map(|(i, row)| {
                    let mut out = vec![];
                    let bytes = convert(from, to, row, cols, &mut out).to_vec();
                    match first_non_finite(to, &bytes) {
                        Some(_) => Err(i),
                        None => Ok(bytes),
                    }
                })
                .collect();
            for row in converted {
                let row = row.map_err(|i| not_finite(file, &source, slab.first_row + i))?;
                write(&tensor.name, &row)?;
            }
            done += slab.bytes.len() as u64;
            progress(Progress { done, total });
        }
    }
    for (declaration, bytes) in plan.added {
        write(&declaration.name, bytes)?;
    }
    Ok(())
}
