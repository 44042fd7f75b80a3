//! A model on a device: heavy, one of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deputy::file::ModelFile;
use deputy::{Cancel, Session, SessionOptions};
use pollster::block_on;

use crate::worker::{Pending, Worker, lock};
use crate::{DeputyError, EngineInfo, EngineOptions, MAX_CACHES, ModelInfo, Trim};

/// Where a model lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder with `config.json` and safetensors, or a `.gguf` file.
    Path(PathBuf),
    /// The one that is compiled in.
    #[cfg(feature = "default-model")]
    Default,
}

impl Source {
    /// The path, or the model that is compiled in where there is none.
    ///
    /// # Errors
    /// [`DeputyError::Setting`] where none is.
    pub fn of(path: Option<&str>) -> Result<Self, DeputyError> {
        match path {
            Some(path) => Ok(Self::Path(path.into())),
            #[cfg(feature = "default-model")]
            None => Ok(Self::Default),
            #[cfg(not(feature = "default-model"))]
            None => Err(DeputyError::Setting {
                reason: "model: expected a path, found none, and no model is compiled in"
                    .to_owned(),
            }),
        }
    }

    async fn open(&self) -> Result<ModelFile, DeputyError> {
        match self {
            Self::Path(path) => Ok(ModelFile::open_path(path)
                .await
                .map_err(deputy::Error::from)?),
            #[cfg(feature = "default-model")]
            Self::Default => Ok(deputy::default_model().await?),
        }
    }
}

/// What a model is and what it would take. Reads the headers of its files and no weights.
///
/// # Errors
/// What is wrong with the files or the model.
pub fn model_info(source: &Source, options: &EngineOptions) -> Result<ModelInfo, DeputyError> {
    block_on(async {
        let mut file = source.open().await?;
        let elements = file
            .tensors
            .values()
            .map(|tensor| tensor.shape.n_elements());
        let n_parameters = elements.flatten().sum::<usize>() as u64;
        let has_chat_template = deputy::template(&file)?.is_some();
        let (model, branches) = deputy::open_model(&mut file, false).await?;
        let mut load = options.load();
        load.cache_mode = branches.as_ref().map(|branches| branches.cache);
        let layouts = load.weights.layouts(&model, branches.as_ref());
        Ok(ModelInfo {
            name: file.name.clone(),
            architecture: model.config.architecture.name.to_owned(),
            n_parameters,
            n_layers: model.config.n_layers,
            vocab_size: model.config.vocab_size,
            max_ctx: model.config.n_ctx,
            has_chat_template,
            is_routed: model.graph.is_routed(),
            memory: deputy::footprint(&model, &layouts, &load).into(),
        })
    })
}

/// How far loading is, in bytes of weights: done, all.
pub type OnProgress = Box<dyn FnMut(u64, u64) + Send>;

/// A model on a device, and the thread that works for it. [`close`](Engine::close) or dropping it gives back everything.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    source: Source,
    options: EngineOptions,
    pub(crate) worker: Worker,
    resident: Mutex<Resident>,
    info: Mutex<Option<EngineInfo>>,
    /// Of the answer that is made.
    current: Mutex<Cancel>,
    is_closed: AtomicBool,
    n_conversations: AtomicU64,
}

/// What can be given back and made again.
#[derive(Default)]
struct Resident {
    engine: Option<deputy::Engine>,
    /// With the conversations that they belong to; the one that was silent longest first. The one that is being
    /// answered is not among them. One may belong to none: it waits, empty, for the next conversation, since making
    /// one takes time on a device.
    sessions: Vec<(Option<u64>, Session)>,
    /// How often memory was given back.
    n_trims: u64,
}

/// A session that was taken out to answer with.
pub(crate) struct Taken {
    pub(crate) session: Session,
    n_trims: u64,
}

impl Engine {
    /// Loads a model. `on_progress` is called on the engine's thread.
    pub fn open(
        source: Source,
        options: EngineOptions,
        on_progress: Option<OnProgress>,
    ) -> Result<Pending<Self>, DeputyError> {
        let worker = Worker::start().map_err(|cause| DeputyError::Other {
            reason: format!("the engine's thread: {cause}"),
        })?;
        let shared = Arc::new(Shared {
            source,
            options,
            worker,
            resident: Mutex::default(),
            info: Mutex::default(),
            current: Mutex::default(),
            is_closed: AtomicBool::new(false),
            n_conversations: AtomicU64::new(0),
        });
        let engine = Self {
            shared: shared.clone(),
        };
        Ok(shared.worker.run(move || {
            let mut on_progress = on_progress;
            engine.shared.load(&mut |done, total| {
                if let Some(call) = &mut on_progress {
                    call(done, total);
                }
            })?;
            Ok(engine)
        }))
    }

    /// What it runs on.
    pub fn info(&self) -> EngineInfo {
        let info = lock(&self.shared.info).clone();
        info.expect("an engine is handed out once it is loaded")
    }

    /// Holds answers before their next step, until [`resume`](Engine::resume): an app in the background may not use the
    /// GPU. Waits up to `within` for the steps on their way, and says whether nothing is computed any more; from a
    /// callback it does not wait.
    pub fn pause(&self, within: Duration) -> bool {
        let gate = &self.shared.worker.gate;
        gate.pause();
        gate.is_still(match self.shared.worker.is_here() {
            true => Duration::ZERO,
            false => within,
        })
    }

    /// Lets answers go on.
    pub fn resume(&self) {
        self.shared.worker.gate.resume();
    }

    /// Gives back memory, at once but for what an answer uses that is being made, which follows at its end.
    /// Conversations stay; what they need is made again when they go on.
    ///
    /// # Errors
    /// [`DeputyError::Closed`]
    pub fn trim_memory(&self, trim: Trim) -> Result<(), DeputyError> {
        self.shared.check_open()?;
        let mut resident = lock(&self.shared.resident);
        resident.n_trims += 1;
        resident.sessions.clear();
        if trim == Trim::Weights {
            resident.engine = None;
        }
        Ok(())
    }

    /// Cancels what is being answered and gives back everything, within a token. Later calls find it
    /// [closed](DeputyError::Closed). From a callback it returns before the answer's end.
    pub fn close(&self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.shared.cancel_current();
        self.shared.worker.stop();
        *lock(&self.shared.resident) = Resident::default();
    }

    /// Panics on the engine's thread, for tests: the error that an app would see.
    #[cfg(feature = "test-hooks")]
    pub fn test_panic(&self) -> Pending<()> {
        self.shared.worker.run(|| panic!("on purpose"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    pub(crate) fn new_id(&self) -> u64 {
        self.n_conversations.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> Result<(), DeputyError> {
        match self.is_closed.load(Ordering::SeqCst) {
            true => Err(DeputyError::Closed),
            false => Ok(()),
        }
    }

    /// Says which answer is being made, so that closing ends it.
    pub(crate) fn set_current(&self, cancel: &Cancel) -> Result<(), DeputyError> {
        *lock(&self.current) = cancel.clone();
        self.check_open()
    }

    fn cancel_current(&self) {
        lock(&self.current).cancel();
        self.worker.gate.look();
    }

    /// The model on its device, loaded again where it was given back.
    fn load(&self, on_progress: &mut dyn FnMut(u64, u64)) -> Result<deputy::Engine, DeputyError> {
        self.check_open()?;
        if let Some(engine) = &lock(&self.resident).engine {
            return Ok(engine.clone());
        }
        let engine = block_on(async {
            let file = self.source.open().await?;
            let mut progress = |at: deputy::Progress| on_progress(at.done, at.total);
            let engine =
                deputy::Engine::from_file(file, self.options.load(), &mut progress).await?;
            engine.tokenizer()?;
            Ok::<_, DeputyError>(engine)
        })?;
        *lock(&self.info) = Some(EngineInfo {
            model: engine.name().to_owned(),
            device: engine.device(),
            fallback: engine.fallback(),
            n_ctx: engine.n_ctx(),
            memory: engine.footprint().into(),
        });
        lock(&self.resident).engine = Some(engine.clone());
        Ok(engine)
    }

    /// The conversation's session; else a new one, or, where there are enough, that of the conversation that was
    /// silent longest, emptied.
    pub(crate) fn take(&self, conversation: u64) -> Result<Taken, DeputyError> {
        let engine = self.load(&mut |_, _| {})?;
        let mut resident = lock(&self.resident);
        let n_trims = resident.n_trims;
        let max = self.options.max_caches.unwrap_or(MAX_CACHES).max(1) as usize;
        let of = |who| resident.sessions.iter().position(|(id, _)| *id == who);
        let own = of(Some(conversation));
        let oldest = (resident.sessions.len() >= max).then_some(0);
        let at = own.or(of(None)).or(oldest);
        let session = match at.map(|at| resident.sessions.remove(at).1) {
            Some(mut session) => {
                if own.is_none() {
                    session.truncate(0, 0);
                }
                session
            }
            None => {
                drop(resident);
                block_on(engine.session(SessionOptions::default()))?
            }
        };
        Ok(Taken { session, n_trims })
    }

    /// Keeps it for the conversation's next answer, unless memory was given back meanwhile.
    pub(crate) fn put_back(&self, conversation: u64, taken: Taken) {
        let mut resident = lock(&self.resident);
        if taken.n_trims == resident.n_trims && self.check_open().is_ok() {
            resident.sessions.push((Some(conversation), taken.session));
        }
    }

    /// Gives back the conversation's session, or empties it for the next conversation.
    pub(crate) fn discard(&self, conversation: u64) {
        let sessions = &mut lock(&self.resident).sessions;
        let has_spare = sessions.iter().any(|(id, _)| id.is_none());
        let of = |(id, _): &(Option<u64>, Session)| *id == Some(conversation);
        if let Some(at) = sessions.iter().position(of) {
            let (_, mut session) = sessions.remove(at);
            if !has_spare {
                session.truncate(0, 0);
                sessions.insert(0, (None, session));
            }
        }
    }
}
