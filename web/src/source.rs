//! Files that JavaScript reads: blobs, downloads under way, the browser's own file system.

use std::io;
use std::sync::Arc;

use deputy::file::{BoxFuture, ByteSource, Error, Folder};
use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A file of known length. */
export interface Source {
  readonly name: string;
  readonly length: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}
/** Files by name. */
export interface Folder {
  readonly name: string;
  open(name: string): Promise<Source | undefined>;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// `Source` of the package.
    #[wasm_bindgen(typescript_type = "Source")]
    #[derive(Clone)]
    pub type JsSource;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsSource) -> String;
    #[wasm_bindgen(method, getter)]
    fn length(this: &JsSource) -> f64;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &JsSource, offset: f64, length: f64) -> Result<JsValue, JsValue>;

    /// `Folder` of the package.
    #[wasm_bindgen(typescript_type = "Folder")]
    #[derive(Clone)]
    pub type JsFolder;
    #[wasm_bindgen(method, getter, js_name = name)]
    fn folder_name(this: &JsFolder) -> String;
    #[wasm_bindgen(method, catch)]
    async fn open(this: &JsFolder, name: &str) -> Result<JsValue, JsValue>;
}

/// A file of JavaScript's. All of the engine runs on the worker's one thread, which the wrapper checks.
pub(crate) struct WebSource {
    name: String,
    n_bytes: u64,
    source: SendWrapper<JsSource>,
}

impl WebSource {
    pub(crate) fn new(source: JsSource) -> Self {
        Self {
            name: source.name(),
            n_bytes: source.length() as u64,
            source: SendWrapper::new(source),
        }
    }
}

impl ByteSource for WebSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    fn read<'a>(&'a self, offset: u64, out: &'a mut [u8]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let end = offset.saturating_add(out.len() as u64);
            if end > self.n_bytes {
                return Err(self.truncated(end, self.n_bytes));
            }
            let bytes = self.source.read(offset as f64, out.len() as f64).await;
            let bytes: Uint8Array = bytes
                .map_err(|thrown| failed(&self.name, &thrown))?
                .unchecked_into();
            if bytes.length() as usize != out.len() {
                return Err(self.truncated(end, offset + u64::from(bytes.length())));
            }
            bytes.copy_to(out);
            Ok(())
        })
    }
}

impl WebSource {
    fn truncated(&self, need: u64, have: u64) -> Error {
        Error::Truncated {
            file: self.name.clone(),
            what: "a read".to_owned(),
            need,
            have,
        }
    }
}

/// A folder of JavaScript's.
pub(crate) struct WebFolder {
    name: String,
    folder: SendWrapper<JsFolder>,
}

impl WebFolder {
    pub(crate) fn new(folder: JsFolder) -> Self {
        Self {
            name: folder.folder_name(),
            folder: SendWrapper::new(folder),
        }
    }
}

impl Folder for WebFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn ByteSource>>, Error>> {
        Box::pin(async move {
            let found = self.folder.open(name).await;
            let found = found.map_err(|thrown| failed(&self.name, &thrown))?;
            if found.is_undefined() || found.is_null() {
                return Ok(None);
            }
            let source: Arc<dyn ByteSource> = Arc::new(WebSource::new(found.unchecked_into()));
            Ok(Some(source))
        })
    }
}

/// What JavaScript threw. The package keeps the exception itself, and throws it again.
fn failed(file: &str, thrown: &JsValue) -> Error {
    let message = match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{thrown:?}"),
    };
    Error::Io {
        file: file.to_owned(),
        cause: io::Error::other(message),
    }
}
