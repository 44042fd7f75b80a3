//! Writing a sidecar.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::schema::{self, Settings};
use super::sidecar::{MAX_JSON, NAME};
use super::tensors::{self, Slot};
use super::{Error, ModelIdentity};
use crate::file::{self, Declaration, SafetensorsWriter, parse_json, quantization_config};
use crate::tensor::quant::{first_non_finite, quantize_row};
use crate::tensor::{DType, Shape};

/// A sidecar that is going to be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it says.
    pub settings: Settings,
    /// Type that factors are written in, as far as it is one of blocks and their rows fill whole ones; f16 otherwise.
    /// A router's hidden matrix is f16, all else f32.
    pub stored: DType,
    /// Name, shape and values of every tensor, in any order.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Draft {
    /// Writes the sidecar of the model at `path`: into that folder, or beside that file.
    ///
    /// A file is written under another name and then renamed. The older `deputy.json` goes first,
    /// the new one comes last, so that an interrupted run leaves a model without a sidecar and
    /// never one with halves of two.
    ///
    /// # Errors
    /// What [`super::Sidecar::open`] would not accept; [`file::Error::Io`].
    pub fn write(&self, model: &ModelIdentity, path: &Path) -> Result<(), Error> {
        let [json, weights] = Self::paths(path);
        let text = self.json(model, &json.display().to_string())?;
        let slots = self.slots(model, &weights.display().to_string())?;
        let [json_partial, weights_partial] = Self::partial_paths(path);
        let result = write_tensors(&weights_partial, &slots)
            .and_then(|()| write_file(&json_partial, text.as_bytes()))
            .and_then(|()| remove(&json))
            .and_then(|()| rename(&weights_partial, &weights))
            .and_then(|()| rename(&json_partial, &json));
        if result.is_err() {
            // Whichever it is; the first error is the one that matters.
            let _ = fs::remove_file(&json_partial);
            let _ = fs::remove_file(&weights_partial);
        }
        result
    }

    /// Its files in memory, `deputy.json` and `deputy.safetensors`, with the bytes that
    /// [`Draft::write`] would write: a folder of them stands for one on a disk.
    ///
    /// # Errors
    /// What [`super::Sidecar::open`] would not accept.
    pub fn files(&self, model: &ModelIdentity) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let [json, weights] = [".json", ".safetensors"].map(|suffix| format!("{NAME}{suffix}"));
        let text = self.json(model, &json)?;
        let tensors = encode(&weights, vec![], &self.slots(model, &weights)?)?;
        Ok(BTreeMap::from([
            (json, text.into_bytes()),
            (weights, tensors),
        ]))
    }

    /// The two files of a sidecar for the model at `path`.
    pub fn paths(path: &Path) -> [PathBuf; 2] {
        let stem = stem(path);
        [".json", ".safetensors"].map(|suffix| with_suffix(&stem, suffix))
    }

    /// What they are called until they are whole.
    pub fn partial_paths(path: &Path) -> [PathBuf; 2] {
        Self::paths(path).map(|path| with_suffix(&path, ".partial"))
    }

    /// The text of the JSON file, seen to be read back.
    fn json(&self, model: &ModelIdentity, file: &str) -> Result<String, Error> {
        let file = file.to_owned();
        let mut value = schema::to_json(&self.settings, model);
        let slots = self.layout(model);
        let quantized = slots.iter().filter(|slot| slot.dtype.is_quantized());
        let mut quantized = quantized
            .map(|slot| (slot.name.as_str(), slot.dtype))
            .peekable();
        if quantized.peek().is_some() {
            value[schema::QUANTIZATION] = quantization_config(quantized);
        }
        let text = format!("{value:#}\n");
        let found = text.len() as u64;
        if found > MAX_JSON {
            return Err(Error::File(file::Error::OverLimit {
                file,
                what: "its length in bytes".to_owned(),
                limit: MAX_JSON,
                found,
            }));
        }
        schema::parse(&file, &parse_json(&file, text.as_bytes())?, model)?;
        Ok(text)
    }

    /// Every tensor that there must be, with its type.
    fn layout(&self, model: &ModelIdentity) -> Vec<Slot> {
        let slots = tensors::slots(&self.settings.routing, &model.shape);
        match self.stored.is_quantized() {
            true => tensors::quantised(slots, self.stored),
            false => slots,
        }
    }

    /// Each tensor with its values, in the order of the file.
    fn slots(&self, model: &ModelIdentity, file: &str) -> Result<Vec<(Slot, &[f32])>, Error> {
        let file = file.to_owned();
        let mut given = HashMap::new();
        for (name, shape, values) in &self.tensors {
            if given.insert(name.as_str(), (shape, values)).is_some() {
                return Err(Error::File(file::Error::Duplicate {
                    file,
                    what: "tensor",
                    name: name.clone(),
                }));
            }
        }
        let mut slots = vec![];
        for slot in self.layout(model) {
            let (shape, values) = given
                .remove(slot.name.as_str())
                .ok_or_else(|| tensors::missing(&file, &slot))?;
            tensors::check_shape(&file, &slot, &Shape(shape.clone()))?;
            if slot.shape.n_elements() != Some(values.len()) {
                return Err(Error::Invalid {
                    file,
                    key: format!("tensor {:?}", slot.name),
                    expected: format!("values of shape {}", slot.shape),
                    found: format!("{} values", values.len()),
                });
            }
            slots.push((slot, values.as_slice()));
        }
        match given.keys().min() {
            Some(name) => Err(tensors::unexpected(&file, name)),
            None => Ok(slots),
        }
    }
}

/// What the sidecar's files are called for the model at `path`, without their suffixes.
fn stem(path: &Path) -> PathBuf {
    let is_gguf = |path: &Path| {
        path.extension()
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("gguf"))
    };
    let name = path.file_name().and_then(|name| name.to_str());
    match name {
        Some("config.json" | "model.safetensors" | "model.safetensors.index.json") => {
            path.with_file_name(NAME)
        }
        _ if path.is_file() || is_gguf(path) && !path.is_dir() => {
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(".");
            name.push(NAME);
            path.with_file_name(name)
        }
        _ => path.join(NAME),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_tensors(path: &Path, slots: &[(Slot, &[f32])]) -> Result<(), Error> {
    let out = BufWriter::new(create(path)?);
    let file = encode(&path.display().to_string(), out, slots)?.into_inner();
    let file = file.map_err(|cause| io_error(path)(cause.into_error()))?;
    Ok(file.sync_all().map_err(io_error(path))?)
}

/// Writes the tensors to `out`, called `name` in messages.
fn encode<W: Write>(name: &str, out: W, slots: &[(Slot, &[f32])]) -> Result<W, Error> {
    let declare = |(slot, _): &(Slot, &[f32])| Declaration {
        name: slot.name.clone(),
        dtype: slot.dtype,
        shape: slot.shape.clone(),
    };
    let declarations: Vec<Declaration> = slots.iter().map(declare).collect();
    let about = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = SafetensorsWriter::new(name, out, &about, &declarations)?;
    let mut bytes = vec![];
    for (slot, values) in slots {
        let (_, cols) = slot.shape.rows_cols().unwrap_or((1, 1));
        for (row, values) in values.chunks(cols.max(1)).enumerate() {
            bytes.clear();
            quantize_row(slot.dtype, values, &mut bytes);
            if first_non_finite(slot.dtype, &bytes).is_some() {
                return Err(tensors::not_finite(name, &slot.name, row));
            }
            writer.write(&slot.name, &bytes)?;
        }
    }
    Ok(writer.finish()?)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = create(path)?;
    let done = file.write_all(bytes).and_then(|()| file.sync_all());
    Ok(done.map_err(io_error(path))?)
}

/// What an interrupted run has left there is of no use.
fn create(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io_error(folder))?;
    }
    Ok(File::create(path).map_err(io_error(path))?)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(io_error(path)(cause).into()),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    Ok(fs::rename(from, to).map_err(io_error(to))?)
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> file::Error {
    let file = path.display().to_string();
    move |cause| file::Error::Io { file, cause }
}
