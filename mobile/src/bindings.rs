//! What the bindings for Kotlin, Swift and Python call; UniFFI generates them from this file.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Answer, AnswerOptions, ConversationOptions, DeputyError, EngineInfo, EngineOptions, Message,
    ModelInfo, OnProgress, OnText, Role, Source, Trim,
};

/// What a model is and what it would take; without a path, the one that is compiled in. Reads the headers of its files
/// and no weights.
#[uniffi::export(default(model = None, options = None))]
pub fn model_info(
    model: Option<String>,
    options: Option<EngineOptions>,
) -> Result<ModelInfo, DeputyError> {
    crate::model_info(&Source::of(model.as_deref())?, &options.unwrap_or_default())
}

/// Sees how far loading is. Called on the engine's thread.
#[uniffi::export(with_foreign)]
pub trait LoadListener: Send + Sync {
    /// Bytes of weights: so many are loaded, so many there are.
    fn on_progress(&self, done: u64, total: u64);
}

/// Sees an answer as it comes. Called on the engine's thread, never on the one that asked.
#[uniffi::export(with_foreign)]
pub trait TextListener: Send + Sync {
    /// A piece of whole characters; false stops the answer.
    fn on_text(&self, text: String) -> Result<bool, DeputyError>;
}

impl From<uniffi::UnexpectedUniFFICallbackError> for DeputyError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Callback {
            reason: error.reason,
        }
    }
}

/// A model on a device, and the thread that works for it: heavy, one of it.
#[derive(uniffi::Object)]
pub struct Engine(crate::Engine);

#[uniffi::export]
impl Engine {
    /// Loads a model from a folder or a .gguf file; without a path, the one that is compiled in. Blocks.
    #[uniffi::constructor(default(model = None, options = None, listener = None))]
    pub fn open(
        model: Option<String>,
        options: Option<EngineOptions>,
        listener: Option<Arc<dyn LoadListener>>,
    ) -> Result<Arc<Self>, DeputyError> {
        let engine = start(model.as_deref(), options, listener)?.wait()?;
        Ok(Arc::new(Self(engine)))
    }

    /// As `open`, without blocking.
    #[uniffi::constructor(default(model = None, options = None, listener = None))]
    pub async fn load(
        model: Option<String>,
        options: Option<EngineOptions>,
        listener: Option<Arc<dyn LoadListener>>,
    ) -> Result<Arc<Self>, DeputyError> {
        let engine = start(model.as_deref(), options, listener)?.await?;
        Ok(Arc::new(Self(engine)))
    }

    /// What it runs on.
    pub fn info(&self) -> EngineInfo {
        self.0.info()
    }

    /// Begins a conversation. Nothing is computed before its first answer.
    #[uniffi::method(default(options = None))]
    pub fn conversation(
        &self,
        options: Option<ConversationOptions>,
    ) -> Result<Arc<Conversation>, DeputyError> {
        let conversation = self.0.conversation(options.unwrap_or_default())?;
        Ok(Arc::new(Conversation(Arc::new(conversation))))
    }

    /// Holds answers before their next step, until `resume`: an app in the background may not use the GPU. Waits up to
    /// so many milliseconds for the steps on their way, and says whether nothing is computed any more.
    #[uniffi::method(default(within_ms = 1000))]
    pub fn pause(&self, within_ms: u32) -> bool {
        self.0.pause(Duration::from_millis(within_ms.into()))
    }

    /// Lets answers go on.
    pub fn resume(&self) {
        self.0.resume();
    }

    /// Gives back memory, at once but for what an answer uses that is being made. What is needed is made again later.
    pub fn trim_memory(&self, trim: Trim) -> Result<(), DeputyError> {
        self.0.trim_memory(trim)
    }

    /// Cancels what is being answered and gives back everything. Later calls find it closed.
    pub fn shutdown(&self) {
        self.0.close();
    }
}

#[cfg(feature = "test-hooks")]
#[uniffi::export]
impl Engine {
    /// Panics on the engine's thread, for tests.
    pub fn test_panic(&self) -> Result<(), DeputyError> {
        self.0.test_panic().wait()
    }
}

fn start(
    model: Option<&str>,
    options: Option<EngineOptions>,
    listener: Option<Arc<dyn LoadListener>>,
) -> Result<crate::Pending<crate::Engine>, DeputyError> {
    let on_progress = listener.map(|listener| {
        Box::new(move |done, total| listener.on_progress(done, total)) as OnProgress
    });
    crate::Engine::open(Source::of(model)?, options.unwrap_or_default(), on_progress)
}

/// Messages, and the answers to them: light, many of it. Conversations of one engine are answered one after another.
#[derive(uniffi::Object)]
pub struct Conversation(Arc<crate::Conversation>);

#[uniffi::export]
impl Conversation {
    /// Adds the person's message and answers it; where that fails, the conversation is as it was before. Blocks; the
    /// listener is called on the engine's thread.
    #[uniffi::method(default(listener = None, options = None))]
    pub fn send(
        &self,
        text: &str,
        listener: Option<Arc<dyn TextListener>>,
        options: Option<AnswerOptions>,
    ) -> Result<Answer, DeputyError> {
        let on_text = on_text(listener);
        self.0
            .send_and_wait(text, options.unwrap_or_default(), on_text)
    }

    /// As `send`, without blocking. Where the caller's task is cancelled, so is the answer.
    #[uniffi::method(default(listener = None, options = None))]
    pub async fn answer(
        &self,
        text: String,
        listener: Option<Arc<dyn TextListener>>,
        options: Option<AnswerOptions>,
    ) -> Result<Answer, DeputyError> {
        let on_text = on_text(listener);
        let pending = self.0.send(&text, options.unwrap_or_default(), on_text)?;
        let mut forsaken = CancelOnDrop(Some(self.0.clone()));
        let answer = pending.await;
        forsaken.0 = None;
        answer
    }

    /// Stops the answer that is being made, within a token. From any thread, listeners included.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// What was said.
    pub fn messages(&self) -> Vec<Message> {
        self.0.messages()
    }

    /// Adds a message without answering it: to go on with a conversation that the app has kept.
    pub fn add(&self, role: Role, text: String) -> Result<(), DeputyError> {
        self.0.add(Message { role, text })
    }

    /// Forgets what was said, but for what the model is told before it.
    pub fn reset(&self) -> Result<(), DeputyError> {
        self.0.reset()
    }

    /// Cancels its answer and gives back its cache. Later calls find it closed.
    pub fn shutdown(&self) {
        self.0.close();
    }
}

fn on_text(listener: Option<Arc<dyn TextListener>>) -> OnText {
    Box::new(move |text| {
        let goes_on = match &listener {
            Some(listener) => listener.on_text(text.to_owned())?,
            None => true,
        };
        Ok(match goes_on {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    })
}

struct CancelOnDrop(Option<Arc<crate::Conversation>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(conversation) = &self.0 {
            conversation.cancel();
        }
    }
}
