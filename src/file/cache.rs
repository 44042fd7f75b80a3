//! The folder in which the engine keeps what saves work on the next run.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A folder of files that may be lost at any time: nothing in it is needed, and what does not come
/// back as it was written does not come back at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFolder {
    path: PathBuf,
}

/// Larger files are not read.
const MAX_BYTES: u64 = 256 << 20;

impl CacheFolder {
    /// The folder at `path`, which is made when something is written.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was last written under `name`.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path.join(name);
        let result = fs::File::open(&path).and_then(|file| {
            let mut bytes = vec![];
            file.take(MAX_BYTES).read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return None,
            Err(cause) => {
                log::debug!("{}: {cause}", path.display());
                return None;
            }
        };
        let (sum, bytes) = bytes.split_first_chunk()?;
        if *sum != checksum(bytes) {
            log::debug!("{}: is not what was written; ignored", path.display());
            return None;
        }
        Some(bytes.to_vec())
    }

    /// Keeps bytes under `name`, a plain file name: all of them or none, also where two programs
    /// write at a time. A failure is logged and costs only the time that would have been saved.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path.join(name);
        let partial = self.path.join(format!("{name}.{}", std::process::id()));
        let result = fs::create_dir_all(&self.path)
            .and_then(|()| fs::write(&partial, [&checksum(bytes)[..], bytes].concat()))
            .and_then(|()| fs::rename(&partial, &path));
        if let Err(cause) = result {
            log::debug!("{}: {cause}", path.display());
            // It may not even be there.
            let _ = fs::remove_file(&partial);
        }
    }
}

/// Rust may change this hash; files of other versions are then written anew.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> CacheFolder {
        let name = format!("deputy-cache-{name}-{}", std::process::id());
        CacheFolder::new(&std::env::temp_dir().join(name))
    }

    #[test]
    fn what_was_written_comes_back() {
        let folder = folder("kept");
        assert_eq!(folder.read("a"), None);
        for bytes in [&b""[..], b"one", b"another"] {
            folder.write("a", bytes);
            assert_eq!(folder.read("a").as_deref(), Some(bytes));
        }
        let n_files = fs::read_dir(&folder.path).expect("is there").count();
        assert_eq!(n_files, 1, "nothing else is left behind");
        fs::remove_dir_all(&folder.path).expect("is there");
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = folder("damaged");
        folder.write("a", b"some bytes");
        let path = folder.path.join("a");
        let whole = fs::read(&path).expect("was written");
        for n in 0..whole.len() {
            fs::write(&path, &whole[..n]).expect("is ours");
            assert_eq!(folder.read("a"), None, "cut to {n} bytes");
            let mut wrong = whole.clone();
            wrong[n] ^= 1;
            fs::write(&path, wrong).expect("is ours");
            assert_eq!(folder.read("a"), None, "byte {n}");
        }
        fs::remove_dir_all(&folder.path).expect("is there");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let file = std::env::temp_dir().join(format!("deputy-no-folder-{}", std::process::id()));
        fs::write(&file, b"a file").expect("can be written");
        let folder = CacheFolder::new(&file);
        folder.write("a", b"bytes");
        assert_eq!(folder.read("a"), None);
        fs::remove_file(&file).expect("is there");
    }
}
