//! A model's tensors and metadata, whatever format they came in.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::error::{Error, brief};
use super::source::{ByteSource, Folder, read_all};
use super::{MAX_CHAT_TEMPLATE, gguf, json, quantized, safetensors};
use crate::tensor::{DType, Shape};

const MAX_CONFIG: u64 = 1 << 20;
const MAX_TOKENIZER: u64 = 64 << 20;
/// Gemma 3's is larger than a mebibyte: it lists 6,400 added tokens.
const MAX_TOKENIZER_CONFIG: u64 = 16 << 20;

/// An opened model: its tensors as ranges, its metadata as it stands there.
pub struct ModelFile {
    /// The folder's or file's name, for messages.
    pub name: String,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Everything that is no tensor.
    pub metadata: Metadata,
    sources: Vec<Arc<dyn ByteSource>>,
    beside: Option<Beside>,
}

/// Where a model lies, to look for further files there.
#[derive(Clone)]
pub struct Beside {
    /// The folder.
    pub folder: Arc<dyn Folder>,
    /// The model's own name in it, without suffix; `None` where the folder is the model.
    pub stem: Option<String>,
}

/// Where a tensor stands and what it is. The range has been checked against the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Type of its elements.
    pub dtype: ElementType,
    /// Its extents, row-major in every format.
    pub shape: Shape,
    /// Which of the model's files has it.
    pub source: usize,
    /// Its bytes in that file.
    pub range: Range<u64>,
}

/// A type of elements, known or only named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// A type to compute with.
    Known(DType),
    /// Some other type by the name that the format gives it; an error only where the tensor is used.
    Other(String),
}

/// What a model says about itself beside its tensors.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a model")]
pub enum Metadata {
    /// The JSON files of a folder.
    HuggingFace(HuggingFace),
    /// The key-value section of a GGUF file.
    Gguf(gguf::Metadata),
}

/// The files of a Hugging Face folder beside the weights.
#[derive(Debug)]
pub struct HuggingFace {
    /// `config.json`, an object.
    pub config: Value,
    /// `generation_config.json`.
    pub generation_config: Option<Value>,
    /// `tokenizer.json`, UTF-8 but not parsed.
    pub tokenizer: Option<Vec<u8>>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Value>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Value>,
    /// `chat_template.jinja`, or else the template of `tokenizer_config.json`, or the one it calls "default".
    pub chat_template: Option<String>,
}

impl ModelFile {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// [`Error::NotAModel`] without `config.json` or weights, [`Error::PytorchOnly`]
    /// with pickled weights only, and what else is wrong with one of the files.
    pub async fn open_folder(folder: Arc<dyn Folder>) -> Result<Self, Error> {
        let beside = Beside {
            folder: folder.clone(),
            stem: None,
        };
        let folder = &*folder;
        let not_a_model = |looked_for| Error::NotAModel {
            path: folder.name().to_owned(),
            looked_for,
        };
        let config = folder.open("config.json").await?.ok_or_else(|| {
            not_a_model("config.json with model.safetensors or model.safetensors.index.json")
        })?;
        let config_name = config.name().to_owned();
        let config = json::value(&config_name, &read_all(&*config, MAX_CONFIG).await?)?;
        if !config.is_object() {
            return Err(Error::unexpected(
                &config_name,
                "its value",
                "an object",
                kind(&config),
            ));
        }

        let (mut tensors, sources) = if let Some(source) = folder.open("model.safetensors").await? {
            (safetensors::read_safetensors(&*source).await?, vec![source])
        } else if let Some(index) = folder.open(safetensors::INDEX).await? {
            safetensors::open_shards(folder, &*index).await?
        } else {
            for found in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
                if folder.open(found).await?.is_some() {
                    return Err(Error::PytorchOnly {
                        folder: folder.name().to_owned(),
                        found,
                    });
                }
            }
            return Err(not_a_model(
                "model.safetensors or model.safetensors.index.json beside config.json",
            ));
        };
        quantized::apply_quantization(&config_name, &config, &mut tensors)?;

        let tokenizer_config =
            optional_json(folder, "tokenizer_config.json", MAX_TOKENIZER_CONFIG).await?;
        let metadata = HuggingFace {
            config,
            generation_config: optional_json(folder, "generation_config.json", MAX_CONFIG).await?,
            tokenizer: optional_text(folder, "tokenizer.json", MAX_TOKENIZER)
                .await?
                .map(String::into_bytes),
            special_tokens_map: optional_json(folder, "special_tokens_map.json", MAX_CONFIG)
                .await?,
            chat_template: chat_template(folder, tokenizer_config.as_ref()).await?,
            tokenizer_config,
        };
        let name = folder.name().to_owned();
        Ok(Self {
            name,
            tensors,
            metadata: Metadata::HuggingFace(metadata),
            sources,
            beside: Some(beside),
        })
    }

    /// Opens a GGUF file of version 2 or 3.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn open_gguf(source: Arc<dyn ByteSource>) -> Result<Self, Error> {
        let (metadata, list) = gguf::read(&*source).await?;
        let mut tensors = BTreeMap::new();
        for tensor in list {
            tensors.insert(tensor.name.clone(), tensor);
        }
        let name = source.name().to_owned();
        Ok(Self {
            name,
            tensors,
            metadata: Metadata::Gguf(metadata),
            sources: vec![source],
            beside: None,
        })
    }

    /// The same model with further files of it where `beside` says.
    pub fn with_beside(mut self, beside: Beside) -> Self {
        self.beside = Some(beside);
        self
    }

    /// Where further files of the model would lie; `None` for a GGUF file that came without a folder.
    pub fn beside(&self) -> Option<&Beside> {
        self.beside.as_ref()
    }

    /// Takes in the tensors of another file, `tensors` of `source`, each under its name after `prefix`.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where the model has a tensor of such a name.
    pub fn add(
        &mut self,
        prefix: &str,
        tensors: impl IntoIterator<Item = TensorInfo>,
        source: Arc<dyn ByteSource>,
    ) -> Result<(), Error> {
        let index = self.sources.len();
        let named = |tensor: TensorInfo| TensorInfo {
            name: format!("{prefix}{}", tensor.name),
            source: index,
            ..tensor
        };
        let tensors: Vec<TensorInfo> = tensors.into_iter().map(named).collect();
        let taken = tensors.iter().find(|t| self.tensors.contains_key(&t.name));
        if let Some(tensor) = taken {
            return Err(safetensors::duplicate(&self.name, &tensor.name));
        }
        let tensors = tensors.into_iter().map(|t| (t.name.clone(), t));
        self.tensors.extend(tensors);
        self.sources.push(source);
        Ok(())
    }

    /// Reads the bytes `bytes` of a tensor, counted from its beginning, into `out`.
    ///
    /// # Errors
    /// [`Error::OutOfTensor`] where the range leaves the tensor, [`Error::Io`] where reading fails.
    ///
    /// # Panics
    /// If `out` is not as long as the range.
    pub async fn read(
        &self,
        tensor: &TensorInfo,
        bytes: Range<u64>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let have = tensor.range.end - tensor.range.start;
        if bytes.start > bytes.end || bytes.end > have {
            return Err(self.out_of_tensor(tensor, "bytes", bytes, have));
        }
        assert_eq!(out.len() as u64, bytes.end - bytes.start, "bytes asked for");
        self.sources[tensor.source]
            .read(tensor.range.start + bytes.start, out)
            .await
    }

    /// The bytes of some rows of a tensor, to be given to [`ModelFile::read`].
    /// A vector is one row, a tensor of more than two axes is flattened to rows.
    ///
    /// # Errors
    /// [`Error::ElementType`] for elements of unknown size, [`Error::OutOfTensor`] for rows that it does not have.
    pub fn rows(&self, tensor: &TensorInfo, rows: Range<usize>) -> Result<Range<u64>, Error> {
        let dtype = self.dtype(tensor)?;
        // The whole extent was computed when the file was opened, and rows times their bytes is just that.
        let (have, cols) = tensor.shape.rows_cols().unwrap_or((1, 1));
        if rows.start > rows.end || rows.end > have {
            return Err(self.out_of_tensor(
                tensor,
                "rows",
                rows.start as u64..rows.end as u64,
                have as u64,
            ));
        }
        let row_bytes = dtype.row_bytes(cols).map_or(0, |n| n as u64);
        Ok(rows.start as u64 * row_bytes..rows.end as u64 * row_bytes)
    }

    /// The element type of a tensor that is to be used.
    ///
    /// # Errors
    /// [`Error::ElementType`] if it is not one to compute with.
    pub fn dtype(&self, tensor: &TensorInfo) -> Result<DType, Error> {
        match &tensor.dtype {
            ElementType::Known(dtype) => Ok(*dtype),
            ElementType::Other(found) => Err(Error::ElementType {
                file: self.file_of(tensor).to_owned(),
                tensor: brief(&tensor.name),
                found: found.clone(),
            }),
        }
    }

    /// Name of the file that has this tensor.
    pub fn file_of(&self, tensor: &TensorInfo) -> &str {
        self.sources[tensor.source].name()
    }

    /// The model's chat template, if it has one.
    pub fn chat_template(&self) -> Option<&str> {
        match &self.metadata {
            Metadata::HuggingFace(metadata) => metadata.chat_template.as_deref(),
            Metadata::Gguf(metadata) => metadata.chat_template(),
        }
    }

    fn out_of_tensor(
        &self,
        tensor: &TensorInfo,
        unit: &'static str,
        range: Range<u64>,
        have: u64,
    ) -> Error {
        Error::OutOfTensor {
            file: self.file_of(tensor).to_owned(),
            tensor: brief(&tensor.name),
            unit,
            begin: range.start,
            end: range.end,
            have,
        }
    }
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFile")
            .field("name", &self.name)
            .field("tensors", &self.tensors)
            .finish_non_exhaustive()
    }
}

impl TensorInfo {
    /// Its size in the file.
    pub fn n_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(dtype) => dtype.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Bytes of a row-major tensor whose blocks of `block_len` elements take
/// `block_bits`; `None` if a block or byte would be cut, or if anything
/// overflows, extents beside a zero included.
pub(super) fn n_bytes(dims: &[u64], block_len: u64, block_bits: u64) -> Option<u64> {
    let cols = dims.last().copied().unwrap_or(1);
    let n = dims
        .iter()
        .try_fold(1u64, |n, &dim| n.checked_mul(dim.max(1)))?;
    let bits = n.div_ceil(block_len).checked_mul(block_bits)?;
    if dims.contains(&0) {
        return Some(0);
    }
    (cols.is_multiple_of(block_len) && bits.is_multiple_of(8)).then_some(bits / 8)
}

/// The shape of these extents, or `None` where the platform cannot count so far.
pub(super) fn shape(dims: &[u64]) -> Option<Shape> {
    dims.iter()
        .map(|&dim| usize::try_from(dim).ok())
        .collect::<Option<_>>()
        .map(Shape)
}

/// What a JSON value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

async fn optional_json(
    folder: &dyn Folder,
    name: &str,
    limit: u64,
) -> Result<Option<Value>, Error> {
    let Some(source) = folder.open(name).await? else {
        return Ok(None);
    };
    json::value(source.name(), &read_all(&*source, limit).await?).map(Some)
}

async fn optional_text(
    folder: &dyn Folder,
    name: &str,
    limit: u64,
) -> Result<Option<String>, Error> {
    let Some(source) = folder.open(name).await? else {
        return Ok(None);
    };
    let bytes = read_all(&*source, limit).await?;
    json::text(source.name(), &bytes)?;
    Ok(Some(String::from_utf8(bytes).expect("checked above")))
}

async fn chat_template(
    folder: &dyn Folder,
    tokenizer_config: Option<&Value>,
) -> Result<Option<String>, Error> {
    if let Some(template) = optional_text(folder, "chat_template.jinja", MAX_CHAT_TEMPLATE).await? {
        return Ok(Some(template));
    }
    let file = format!("{}/tokenizer_config.json", folder.name());
    let unexpected = |found| {
        Error::unexpected(
            &file,
            "chat_template",
            "a string or a list of {name, template}",
            found,
        )
    };
    let template = match tokenizer_config.and_then(|config| config.get("chat_template")) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(template)) => template,
        Some(Value::Array(list)) => {
            let mut default = None;
            for entry in list {
                match (entry.get("name"), entry.get("template")) {
                    (Some(Value::String(name)), Some(Value::String(template)))
                        if name == "default" =>
                    {
                        default = Some(template)
                    }
                    (Some(Value::String(_)), Some(Value::String(_))) => {}
                    _ => return Err(unexpected(kind(entry))),
                }
            }
            match default {
                None => return Ok(None),
                Some(template) => template,
            }
        }
        Some(other) => return Err(unexpected(kind(other))),
    };
    check_chat_template(&file, "chat_template", template)?;
    Ok(Some(template.clone()))
}

/// Refuses a template that is too long to be compiled.
pub(super) fn check_chat_template(file: &str, key: &str, template: &str) -> Result<(), Error> {
    let found = template.len() as u64;
    if found <= MAX_CHAT_TEMPLATE {
        return Ok(());
    }
    Err(Error::OverLimit {
        file: file.to_owned(),
        what: format!("the length of {key} in bytes"),
        limit: MAX_CHAT_TEMPLATE,
        found,
    })
}
