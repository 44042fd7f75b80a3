//! Ctrl-C: the first one stops an answer, if there is one; else, and the second time, the program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use deputy::Cancel;

static CURRENT: Mutex<Option<Cancel>> = Mutex::new(None);
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

/// Watches for Ctrl-C from now on.
pub(crate) fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        let current = lock(&CURRENT).clone();
        match current {
            Some(cancel) if !cancel.is_cancelled() => cancel.cancel(),
            _ => {
                for path in lock(&UNFINISHED).drain(..) {
                    remove(&path);
                }
                std::process::exit(130)
            }
        }
    })
}

/// While it lives, the first Ctrl-C cancels instead of ending the program.
pub(crate) struct Guard {
    pub(crate) cancel: Cancel,
}

impl Guard {
    pub(crate) fn new() -> Self {
        let cancel = Cancel::default();
        *lock(&CURRENT) = Some(cancel.clone());
        Self { cancel }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *lock(&CURRENT) = None;
    }
}

/// While it lives, a program that is ended by Ctrl-C takes what it has written of `out` with it.
pub(crate) struct Unfinished {
    /// Where `out` is written until it is whole.
    pub(crate) path: PathBuf,
}

impl Unfinished {
    pub(crate) fn new(out: &Path) -> Self {
        // As `deputy::quantize` names it.
        let mut name: OsString = out.into();
        name.push(".partial");
        let path = PathBuf::from(name);
        *lock(&UNFINISHED) = vec![path.clone()];
        Self { path }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        lock(&UNFINISHED).clear();
    }
}

/// While it lives, a program that is ended by Ctrl-C takes these files with it.
#[cfg(feature = "fit")]
pub(crate) struct UnfinishedFiles(());

#[cfg(feature = "fit")]
impl UnfinishedFiles {
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        *lock(&UNFINISHED) = paths.into_iter().collect();
        Self(())
    }
}

#[cfg(feature = "fit")]
impl Drop for UnfinishedFiles {
    fn drop(&mut self) {
        lock(&UNFINISHED).clear();
    }
}

/// Whichever it is, a file or a folder; there may be nothing yet.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
