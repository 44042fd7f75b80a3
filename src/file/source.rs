//! Where bytes come from: files, memory, and whatever else implements [`ByteSource`].

#[cfg(not(target_arch = "wasm32"))]
mod native;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use super::error::{Error, brief};

#[cfg(not(target_arch = "wasm32"))]
pub use native::{DirFolder, FileSource};

/// A future on the heap, not `Send`: browser futures are bound to their thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Bytes of known length that can be read from any position.
pub trait ByteSource: Send + Sync {
    /// What messages call it: usually the path.
    fn name(&self) -> &str;
    /// Its length.
    fn n_bytes(&self) -> u64;
    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Truncated`] where the source is shorter, [`Error::Io`] where reading fails.
    fn read<'a>(&'a self, offset: u64, out: &'a mut [u8]) -> BoxFuture<'a, Result<(), Error>>;
}

/// Files by name, none of them in a sub-folder.
pub trait Folder: Send + Sync {
    /// What messages call it: usually the path.
    fn name(&self) -> &str;
    /// The file `name`, or `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::FileName`] for anything but a plain name, [`Error::Io`] where opening fails.
    fn open<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn ByteSource>>, Error>>;
}

/// Bytes in memory: a `Vec<u8>`, an `Arc<[u8]>`, a static slice.
pub struct SliceSource<B> {
    name: String,
    bytes: B,
}

impl<B: AsRef<[u8]>> SliceSource<B> {
    /// `bytes`, called `name` in messages.
    pub fn new(name: impl Into<String>, bytes: B) -> Self {
        Self {
            name: name.into(),
            bytes,
        }
    }
}

impl<B: AsRef<[u8]> + Send + Sync> ByteSource for SliceSource<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_bytes(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    fn read<'a>(&'a self, offset: u64, out: &'a mut [u8]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let bytes = self.bytes.as_ref();
            let part = usize::try_from(offset)
                .ok()
                .and_then(|begin| bytes.get(begin..begin.checked_add(out.len())?))
                .ok_or_else(|| truncated(&self.name, offset, out.len(), bytes.len() as u64))?;
            out.copy_from_slice(part);
            Ok(())
        })
    }
}

/// A folder in memory.
pub struct MemoryFolder {
    name: String,
    files: BTreeMap<String, Arc<dyn ByteSource>>,
}

impl MemoryFolder {
    /// A folder of `files`, called `name` in messages.
    pub fn new(name: impl Into<String>, files: BTreeMap<String, Vec<u8>>) -> Self {
        let name = name.into();
        let files = files
            .into_iter()
            .map(|(file, bytes)| {
                let source: Arc<dyn ByteSource> =
                    Arc::new(SliceSource::new(format!("{name}/{file}"), bytes));
                (file, source)
            })
            .collect();
        Self { name, files }
    }

    /// Adds `source` under the name `file`, for bytes that are not a `Vec`.
    pub fn insert(&mut self, file: impl Into<String>, source: Arc<dyn ByteSource>) {
        self.files.insert(file.into(), source);
    }
}

impl Folder for MemoryFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn ByteSource>>, Error>> {
        Box::pin(async move {
            check_plain_name(&self.name, name)?;
            Ok(self.files.get(name).cloned())
        })
    }
}

/// Refuses every name that could lead out of a folder on any system.
pub(super) fn check_plain_name(file: &str, name: &str) -> Result<(), Error> {
    let leads_out = name.contains(['/', '\\', ':', '\0']) || matches!(name, "" | "." | "..");
    if leads_out || name.len() > 255 {
        return Err(Error::FileName {
            file: file.to_owned(),
            found: brief(name),
        });
    }
    Ok(())
}

/// All bytes of `source`, of which there may be at most `limit`.
pub(super) async fn read_all(source: &dyn ByteSource, limit: u64) -> Result<Vec<u8>, Error> {
    let found = source.n_bytes();
    if found > limit {
        return Err(Error::OverLimit {
            file: source.name().to_owned(),
            what: "its length in bytes".to_owned(),
            limit,
            found,
        });
    }
    // Every limit is far below 4 GiB, so that the length fits a 32-bit `usize`.
    let mut bytes = vec![0; found as usize];
    source.read(0, &mut bytes).await?;
    Ok(bytes)
}

fn truncated(file: &str, offset: u64, n_bytes: usize, have: u64) -> Error {
    Error::Truncated {
        file: file.to_owned(),
        what: "a read".to_owned(),
        need: offset.saturating_add(n_bytes as u64),
        have,
    }
}
