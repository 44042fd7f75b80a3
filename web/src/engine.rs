//! A loaded model with its one session.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use deputy::file::{Beside, ModelFile};
use deputy::tokenizer::RenderOptions;
use deputy::{Cancel, Engine, Session, SessionOptions};
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::answer::{Answer, Paths};
use crate::convert::{error, from_js, input, to_js};
use crate::options::{Load, Request};
use crate::source::{JsFolder, JsSource, WebFolder, WebSource};

/// A model on the browser's GPU. One answer at a time.
#[wasm_bindgen]
pub struct WebEngine {
    engine: Engine,
    /// `None` while an answer is made.
    session: RefCell<Option<Session>>,
    cancel: RefCell<Cancel>,
}

/// Makes a panic's message readable on the console.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[wasm_bindgen]
impl WebEngine {
    /// Loads a folder's model, or `gguf` where that is given, with the folder beside it if there is one.
    /// `on_progress` gets the bytes of the tensors that the device has, and all of them.
    ///
    /// # Errors
    /// What is wrong with the files, the model, the device or the options.
    pub async fn load(
        folder: Option<JsFolder>,
        gguf: Option<JsSource>,
        options: JsValue,
        on_progress: js_sys::Function,
    ) -> Result<WebEngine, JsValue> {
        let options = from_js::<Load>(&options)?.options()?;
        let folder = folder.map(|folder| Arc::new(WebFolder::new(folder)));
        let file = match (folder, gguf) {
            (folder, Some(source)) => {
                let source = WebSource::new(source);
                let stem = stem(deputy::file::ByteSource::name(&source));
                let file = ModelFile::open_gguf(Arc::new(source)).await;
                let file = file.map_err(error)?;
                match folder {
                    Some(folder) => file.with_beside(Beside { folder, stem }),
                    None => file,
                }
            }
            (Some(folder), None) => ModelFile::open_folder(folder).await.map_err(error)?,
            (None, None) => return Err(input("neither a folder nor a file was given")),
        };
        let mut progress = |progress: deputy::Progress| {
            let (done, total) = (progress.done as f64, progress.total as f64);
            // What a page's function throws is the page's business.
            let _ = on_progress.call2(&JsValue::NULL, &done.into(), &total.into());
        };
        let engine = Engine::from_file(file, options, &mut progress).await;
        let engine = engine.map_err(error)?;
        let session = engine.session(SessionOptions::default()).await;
        Ok(Self {
            session: RefCell::new(Some(session.map_err(error)?)),
            engine,
            cancel: RefCell::default(),
        })
    }

    /// What was loaded: name, architecture, sizes, times.
    ///
    /// # Errors
    /// None that can be helped.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let engine = &self.engine;
        let (config, footprint) = (engine.config(), engine.footprint());
        let report = engine.load_report();
        to_js(&json!({
            "model": engine.name(),
            "architecture": config.architecture.name,
            "layers": config.n_layers,
            "contextLength": engine.n_ctx(),
            "routed": engine.model().graph.is_routed(),
            "defaultEffort": engine.branches().map(|branches| branches.effort.default_effort()),
            "sampler": {
                "temperature": config.sampler.temperature,
                "topK": config.sampler.top_k,
                "topP": config.sampler.top_p,
            },
            "bytes": {
                "weights": footprint.weights,
                "cache": footprint.cache,
                "activations": footprint.activations,
            },
            "seconds": {
                "weights": (report.read + report.pack + report.upload).as_secs_f64(),
                "kernels": report.pipelines.as_secs_f64(),
                "total": report.total.as_secs_f64(),
            },
        }))
    }

    /// Makes an answer. `on_piece` gets each token and the text that is whole with it; `false` ends the answer.
    ///
    /// # Errors
    /// A request that cannot be met, and what the device reports.
    pub async fn generate(
        &self,
        request: JsValue,
        on_piece: js_sys::Function,
    ) -> Result<JsValue, JsValue> {
        let request: Request = from_js(&request)?;
        let prompt = self.prompt(&request)?;
        let options = request.options(self.engine.config().sampler);
        self.cancel.replace(options.cancel.clone());
        let mut session = Busy::new(&self.session)?;
        if self.engine.model().graph.is_routed() {
            session.get().set_routes(&request.routes()).map_err(error)?;
        }
        let mut on_piece = |piece: deputy::Piece<'_>| {
            let (id, text) = (JsValue::from(piece.id), JsValue::from(piece.text));
            match on_piece.call2(&JsValue::NULL, &id, &text) {
                Ok(go_on) if go_on.is_falsy() => ControlFlow::Break(()),
                Ok(_) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let generation = session.get().generate(&prompt, &options, &mut on_piece);
        let generation = generation.await.map_err(error)?;
        let taken = session.get().taken_routes(0).await.map_err(error)?;
        to_js(&Answer::new(generation, taken.as_ref()))
    }

    /// Ends the answer that is being made before its next step.
    pub fn cancel(&self) {
        self.cancel.borrow().cancel();
    }

    /// The ids of a text; control tokens in it count where `special` says so.
    ///
    /// # Errors
    /// Where the model has no tokenizer, or the text is hopelessly long.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<u32>, JsValue> {
        let tokenizer = self.engine.tokenizer().map_err(error)?;
        tokenizer.encode(text, special).map_err(error)
    }

    /// The text of ids.
    ///
    /// # Errors
    /// Where the model has no tokenizer.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String, JsValue> {
        Ok(self.engine.tokenizer().map_err(error)?.decode(ids))
    }

    /// The paths of the tokens that the session holds; `null` for a model without routers.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn routes(&self) -> Result<JsValue, JsValue> {
        let mut session = Busy::new(&self.session)?;
        let taken = session.get().taken_routes(0).await.map_err(error)?;
        let paths = taken.map(|taken| Paths::new(&self.engine, session.get().tokens(0), &taken));
        to_js(&paths)
    }

    /// Forgets the conversation.
    ///
    /// # Errors
    /// While an answer is made.
    pub fn reset(&self) -> Result<(), JsValue> {
        Busy::new(&self.session)?.get().truncate(0, 0);
        Ok(())
    }

    /// Gives the device back; nothing can be asked afterwards.
    pub fn unload(self) {
        drop(self.session);
        self.engine.destroy_device();
    }
}

impl WebEngine {
    fn prompt(&self, request: &Request) -> Result<Vec<u32>, JsValue> {
        let engine = &self.engine;
        match (&request.messages, &request.prompt, &request.ids) {
            (Some(messages), None, None) => engine
                .encode_chat(messages, &RenderOptions::default())
                .map_err(error),
            (None, Some(text), None) => engine.encode_prompt(text, true).map_err(error),
            (None, None, Some(ids)) => Ok(ids.clone()),
            _ => Err(input("give one of messages, prompt and ids")),
        }
    }
}

/// The session while it is used; it goes back where it was taken from.
struct Busy<'a> {
    slot: &'a RefCell<Option<Session>>,
    session: Option<Session>,
}

impl<'a> Busy<'a> {
    fn new(slot: &'a RefCell<Option<Session>>) -> Result<Self, JsValue> {
        let session = slot.borrow_mut().take();
        if session.is_none() {
            return Err(input("the engine is busy with an answer"));
        }
        Ok(Self { slot, session })
    }

    fn get(&mut self) -> &mut Session {
        self.session.as_mut().expect("is there until it is dropped")
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.slot.borrow_mut() = self.session.take();
    }
}

/// A file's name without its suffix: what the name of its sidecar begins with.
fn stem(name: &str) -> Option<String> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    Some(stem.to_owned())
}
