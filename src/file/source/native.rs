//! Files and folders of the operating system.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BoxFuture, ByteSource, Folder, check_plain_name, truncated};
use crate::file::{Beside, Error, ModelFile};

/// A regular file, read at positions; nothing is mapped, so that a file which
/// shrinks meanwhile is an error and not a signal.
pub struct FileSource {
    name: String,
    file: File,
    n_bytes: u64,
}

impl FileSource {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let fail = |cause| Error::Io {
            file: name.clone(),
            cause,
        };
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = fs::metadata(path).map_err(fail)?;
        if !metadata.is_file() {
            return Err(fail(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )));
        }
        let file = File::open(path).map_err(fail)?;
        Ok(Self {
            file,
            n_bytes: metadata.len(),
            name,
        })
    }
}

impl ByteSource for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    fn read<'a>(&'a self, offset: u64, out: &'a mut [u8]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if offset
                .checked_add(out.len() as u64)
                .is_none_or(|end| end > self.n_bytes)
            {
                return Err(truncated(&self.name, offset, out.len(), self.n_bytes));
            }
            read_exact_at(&self.file, out, offset).map_err(|cause| Error::Io {
                file: self.name.clone(),
                cause,
            })
        })
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A folder on disk. Links are followed: the Hugging Face cache is made of them.
pub struct DirFolder {
    name: String,
    path: PathBuf,
}

impl DirFolder {
    /// The folder at `path`, which is looked at when a file is opened.
    pub fn new(path: &Path) -> Self {
        Self {
            name: path.display().to_string(),
            path: path.to_owned(),
        }
    }
}

impl Folder for DirFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn ByteSource>>, Error>> {
        Box::pin(async move {
            check_plain_name(&self.name, name)?;
            match FileSource::open(&self.path.join(name)) {
                Ok(source) => Ok(Some(Arc::new(source) as Arc<dyn ByteSource>)),
                Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

impl ModelFile {
    /// Opens the model at `path`: a Hugging Face folder (or its `config.json`,
    /// `model.safetensors` or index) or a GGUF file, whatever that is called.
    ///
    /// # Errors
    /// See [`ModelFile::open_folder`] and [`ModelFile::open_gguf`];
    /// [`Error::NotAModel`] if `path` is something else.
    pub async fn open_path(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let metadata = fs::metadata(path).map_err(|cause| Error::Io {
            file: name.clone(),
            cause,
        })?;
        if metadata.is_dir() {
            return Self::open_folder(Arc::new(DirFolder::new(path))).await;
        }
        let file_name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if matches!(
            file_name,
            "config.json" | "model.safetensors" | "model.safetensors.index.json"
        ) {
            return Self::open_folder(Arc::new(DirFolder::new(folder_of(path)))).await;
        }
        let source = FileSource::open(path)?;
        let mut magic = [0; 4];
        if source.n_bytes() >= 4 {
            source.read(0, &mut magic).await?;
        }
        let has_suffix = path
            .extension()
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("gguf"));
        if has_suffix || magic == *b"GGUF" {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let file = Self::open_gguf(Arc::new(source)).await?;
            return Ok(file.with_beside(Beside {
                folder: Arc::new(DirFolder::new(folder_of(path))),
                stem: Some(stem.unwrap_or_default().to_owned()),
            }));
        }
        Err(Error::NotAModel {
            path: name,
            looked_for: "a GGUF file, or a folder with config.json and model.safetensors",
        })
    }
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."))
}
