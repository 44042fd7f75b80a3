//! Chats and settings on disk: plain JSON in the platform's data folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use directories::ProjectDirs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chat::Chat;
use crate::settings::Settings;

/// `settings.json` and `chats/ID.json` in a folder.
pub(crate) struct Store {
    folder: PathBuf,
}

/// Why a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no home folder to keep chats in; name a folder with --data")]
    NoFolder,
    #[error("{}: {cause}", file.display())]
    Io { file: PathBuf, cause: io::Error },
    #[error("{}: {cause}", file.display())]
    Json {
        file: PathBuf,
        cause: serde_json::Error,
    },
}

impl Store {
    /// In `folder`, or in the platform's data folder; makes it where it is missing.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self, Error> {
        let folder = match folder {
            Some(folder) => folder,
            None => ProjectDirs::from("", "", "deputy")
                .ok_or(Error::NoFolder)?
                .data_dir()
                .to_owned(),
        };
        let store = Self { folder };
        let chats = store.chats_folder();
        fs::create_dir_all(&chats).map_err(|cause| Error::Io { file: chats, cause })?;
        Ok(store)
    }

    pub(crate) fn chats_folder(&self) -> PathBuf {
        self.folder.join("chats")
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("settings.json")
    }

    fn chat_file(&self, id: &str) -> PathBuf {
        self.chats_folder().join(format!("{id}.json"))
    }

    /// The settings; the defaults where there are none yet. Those that cannot be read are set
    /// aside, so that nothing overwrites them.
    pub(crate) fn settings(&self) -> (Settings, Option<Error>) {
        let file = self.settings_file();
        match read::<Settings>(&file) {
            Ok(Some(settings)) => (settings.clamped(), None),
            Ok(None) => (Settings::default(), None),
            Err(error) => {
                // Where even this fails, the message below still names the file.
                let _ = fs::copy(&file, self.folder.join("settings.unreadable.json"));
                (Settings::default(), Some(error))
            }
        }
    }

    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), Error> {
        write(&self.settings_file(), settings)
    }

    /// All chats, the latest first, and the files that are none. Those are left as they are.
    pub(crate) fn chats(&self) -> (Vec<Chat>, Vec<Error>) {
        let folder = self.chats_folder();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(cause) => {
                let file = folder;
                return (vec![], vec![Error::Io { file, cause }]);
            }
        };
        let (mut chats, mut errors) = (vec![], vec![]);
        for path in entries.flatten().map(|entry| entry.path()) {
            let (Some(id), Some("json")) = (
                path.file_stem().and_then(|stem| stem.to_str()),
                path.extension().and_then(|extension| extension.to_str()),
            ) else {
                continue;
            };
            match read::<Chat>(&path) {
                Ok(Some(chat)) => chats.push(Chat {
                    id: id.to_owned(),
                    ..chat
                }),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        chats.sort_by(|a, b| (b.updated_ms, &b.id).cmp(&(a.updated_ms, &a.id)));
        (chats, errors)
    }

    /// A chat that is not on disk before its first question.
    pub(crate) fn new_chat(&self) -> Chat {
        let now = now_ms();
        let mut id = now;
        while self.chat_file(&id.to_string()).exists() {
            id += 1;
        }
        Chat::new(id.to_string(), now)
    }

    pub(crate) fn save_chat(&self, chat: &Chat) -> Result<(), Error> {
        write(&self.chat_file(&chat.id), chat)
    }

    pub(crate) fn delete_chat(&self, id: &str) -> Result<(), Error> {
        let file = self.chat_file(id);
        match fs::remove_file(&file) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::Io { file, cause }),
            _ => Ok(()),
        }
    }
}

/// The user's folder for what may be lost, where the engine keeps compiled kernels.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    ProjectDirs::from("", "", "deputy").map(|dirs| dirs.cache_dir().to_owned())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// `None` where there is no such file.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => {
            let file = file.to_owned();
            return Err(Error::Io { file, cause });
        }
    };
    let value = serde_json::from_slice(&bytes).map_err(|cause| Error::Json {
        file: file.to_owned(),
        cause,
    })?;
    Ok(Some(value))
}

/// Writes a file whole or not at all.
fn write(file: &Path, value: &impl Serialize) -> Result<(), Error> {
    let unfinished = file.with_extension("unfinished");
    let io = |file: &Path| {
        let file = file.to_owned();
        move |cause| Error::Io { file, cause }
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|cause| Error::Json {
        file: file.to_owned(),
        cause,
    })?;
    bytes.push(b'\n');
    fs::write(&unfinished, bytes).map_err(io(&unfinished))?;
    fs::rename(&unfinished, file).map_err(io(file))
}
