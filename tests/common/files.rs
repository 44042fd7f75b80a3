//! Model files made byte by byte, without the crate's own writers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deputy::file::{Error, MemoryFolder, ModelFile, SliceSource};

/// Folder of third-party data, or `None` with a word about it.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if !path.exists() {
        println!(
            "skipped: no ../shared/{}",
            path.file_name().unwrap_or_default().display()
        );
        return None;
    }
    Some(path)
}

/// The parts of a GGUF file. The counts say what the header claims.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pub(crate) n_tensors: Option<u64>,
    pub(crate) n_keys: Option<u64>,
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<GgufTensor>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

/// A tensor description, extents in ggml's order.
#[derive(Clone)]
pub(crate) struct GgufTensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
}

impl Default for Gguf {
    fn default() -> Self {
        Self {
            version: 3,
            n_tensors: None,
            n_keys: None,
            keys: vec![],
            tensors: vec![],
            alignment: 32,
            data: vec![],
        }
    }
}

impl Gguf {
    /// A small valid file with a value of every type and four tensors.
    pub(crate) fn small() -> Self {
        Self::default()
            .key("general.architecture", string("llama"))
            .key("a.u8", typed(0, &[200]))
            .key("a.i8", typed(1, &(-3i8).to_le_bytes()))
            .key("a.u16", typed(2, &60_000u16.to_le_bytes()))
            .key("a.i16", typed(3, &(-300i16).to_le_bytes()))
            .key("a.u32", typed(4, &4_000_000_000u32.to_le_bytes()))
            .key("a.i32", typed(5, &(-70_000i32).to_le_bytes()))
            .key("a.f32", typed(6, &1e-5f32.to_le_bytes()))
            .key("a.bool", typed(7, &[1]))
            .key("a.u64", typed(10, &(1u64 << 63).to_le_bytes()))
            .key("a.i64", typed(11, &i64::MIN.to_le_bytes()))
            .key("a.f64", typed(12, &0.1f64.to_le_bytes()))
            .key(
                "a.strings",
                array(8, 3, &[text("<s>"), text(""), text("été")].concat()),
            )
            .key(
                "a.floats",
                array(
                    6,
                    2,
                    &[1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(),
                ),
            )
            .key(
                "a.ints",
                array(5, 2, &[1i32.to_le_bytes(), 6i32.to_le_bytes()].concat()),
            )
            .key("a.bools", array(7, 2, &[0, 1]))
            .key(
                "a.nested",
                array(
                    9,
                    2,
                    &[inner(0, 2, &[7, 8]), inner(8, 1, &text("x"))].concat(),
                ),
            )
            .tensor("f32", &[3, 2], 0, 24)
            .tensor("q8_0", &[64, 2], 8, 136)
            .tensor("q4_k", &[256], 12, 144)
            .tensor("bf16", &[2, 3, 4], 30, 48)
    }

    pub(crate) fn key(mut self, name: &str, value: Vec<u8>) -> Self {
        self.keys.push((name.to_owned(), value));
        self
    }

    /// Appends a tensor with `n_bytes` bytes of data, which count up from the number of tensors before it.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], kind: u32, n_bytes: usize) -> Self {
        self.data
            .resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        let first = self.tensors.len();
        self.tensors.push(GgufTensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind,
            offset,
        });
        self.data.extend((0..n_bytes).map(|i| (first + i) as u8));
        self
    }

    pub(crate) fn key_bytes(&self) -> Vec<u8> {
        self.keys
            .iter()
            .flat_map(|(name, value)| [text(name), value.clone()].concat())
            .collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(
            self.n_tensors
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(self.n_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.key_bytes());
        for tensor in &self.tensors {
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor
                .dims
                .iter()
                .for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        if !self.tensors.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        }
        bytes.extend(&self.data);
        bytes
    }
}

/// A string as GGUF stores it, its length first.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A value: its type, then its bytes.
pub(crate) fn typed(kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], bytes].concat()
}

/// A string value.
pub(crate) fn string(value: &str) -> Vec<u8> {
    typed(8, &text(value))
}

/// An array value that claims `n` entries of type `kind`.
pub(crate) fn array(kind: u32, n: u64, bytes: &[u8]) -> Vec<u8> {
    typed(9, &inner(kind, n, bytes))
}

/// An array without the word that calls it one, as it stands inside another array.
pub(crate) fn inner(kind: u32, n: u64, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &n.to_le_bytes(), bytes].concat()
}

/// A safetensors file of this header and data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// A header entry.
pub(crate) fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

/// A small valid safetensors file: `a` f32 [2, 2], `b` bf16 [3], `c` i64 [1].
pub(crate) fn small_safetensors() -> Vec<u8> {
    let entries = [
        entry("a", "F32", "[2,2]", 0, 16),
        entry("b", "BF16", "[3]", 16, 22),
        entry("c", "I64", "[1]", 22, 30),
    ];
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{}}}"#,
        entries.join(",")
    );
    safetensors(&header, &(0..30).collect::<Vec<u8>>())
}

/// Opens a folder of these files, called `model` in messages.
pub(crate) fn open_folder<'a>(
    files: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
) -> Result<ModelFile, Error> {
    let files: BTreeMap<_, _> = files
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect();
    pollster::block_on(ModelFile::open_folder(Arc::new(MemoryFolder::new(
        "model", files,
    ))))
}

/// Opens one safetensors file beside an empty config.
pub(crate) fn open_safetensors(bytes: Vec<u8>) -> Result<ModelFile, Error> {
    open_folder([
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", bytes),
    ])
}

/// Opens these bytes as `m.gguf`.
pub(crate) fn open_gguf(bytes: Vec<u8>) -> Result<ModelFile, Error> {
    pollster::block_on(ModelFile::open_gguf(Arc::new(SliceSource::new(
        "m.gguf", bytes,
    ))))
}

/// All bytes of a tensor.
pub(crate) fn tensor_bytes(model: &ModelFile, name: &str) -> Vec<u8> {
    let tensor = &model.tensors[name];
    let mut bytes = vec![0; tensor.n_bytes() as usize];
    pollster::block_on(model.read(tensor, 0..tensor.n_bytes(), &mut bytes))
        .expect("bytes of a checked tensor");
    bytes
}

/// Asserts that opening failed with a message that has the parts of `why`, which `…` separates, in this order.
#[track_caller]
pub(crate) fn refused(result: Result<ModelFile, Error>, why: &str) {
    let message = match result {
        Ok(model) => panic!("accepted, but {why:?} was expected: {model:?}"),
        Err(error) => error.to_string(),
    };
    let mut rest = &message[..];
    for part in why.split('…').map(str::trim) {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} of {why:?} is not in {message:?}"));
        rest = &rest[at + part.len()..];
    }
    assert!(
        message.len() < 700,
        "a message of {} bytes for {why:?}",
        message.len()
    );
}

/// A table of what is [`refused`] and why.
macro_rules! refused {
    ($($result:expr => $why:expr,)*) => {
        $(crate::common::refused($result, $why);)*
    };
}

/// An empty folder for one test.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder to write to");
    path
}

/// splitmix64: a seeded generator for mutations.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// One to four random changes: cut, flipped bit, byte, word of an interesting
/// value, a piece repeated, removed or moved.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const WORDS: [u64; 8] = [
        0,
        1,
        u64::MAX,
        1 << 63,
        1 << 32,
        u32::MAX as u64,
        i64::MAX as u64,
        12,
    ];
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let n = random.below(16).min(bytes.len() - at);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 | 2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes[at] = random.next() as u8,
            4 => {
                let word = WORDS[random.below(WORDS.len())].to_le_bytes();
                let n = [1, 4, 8][random.below(3)].min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&word[..n]);
            }
            5 => {
                let piece = bytes[at..at + n].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            6 => {
                bytes.drain(at..at + n);
            }
            _ => {
                // Digits make JSON numbers of every size.
                let digit = b"0123456789-.eE[]{},:\"\\"[random.below(22)];
                bytes[at] = digit;
            }
        }
    }
}
