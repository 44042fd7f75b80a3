//! A conversation with an engine: light, many of it.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use deputy::tokenizer::RenderOptions;
use deputy::{BeforeStep, Cancel, Routes};
use pollster::block_on;

use crate::engine::Shared;
use crate::worker::{Pending, lock};
use crate::{Answer, AnswerOptions, ConversationOptions, DeputyError, Engine, Message, Role};

/// Sees an answer as it comes, in pieces of whole characters. `Break` stops it.
pub type OnText = Box<dyn FnMut(&str) -> Result<ControlFlow<()>, DeputyError> + Send>;

/// Messages, and the answers to them. Conversations of one engine are answered one after another.
/// [`close`](Conversation::close) or dropping it gives back its cache.
pub struct Conversation {
    engine: Arc<Shared>,
    talk: Arc<Talk>,
}

struct Talk {
    id: u64,
    options: ConversationOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    /// Of the answer that is being made or waited for.
    answering: Option<Cancel>,
    is_closed: bool,
}

impl Engine {
    /// Begins a conversation. Nothing is computed before its first answer.
    ///
    /// # Errors
    /// [`DeputyError::Closed`]
    pub fn conversation(&self, options: ConversationOptions) -> Result<Conversation, DeputyError> {
        self.shared.check_open()?;
        let conversation = Conversation {
            engine: self.shared.clone(),
            talk: Arc::new(Talk {
                id: self.shared.new_id(),
                state: Mutex::default(),
                options,
            }),
        };
        conversation.reset()?;
        Ok(conversation)
    }
}

impl Conversation {
    /// Adds the person's message and answers it; where that fails, the conversation is as it was before. An answer
    /// that was stopped is part of it as far as it came. `on_text` is called on the engine's thread.
    ///
    /// # Errors
    /// [`DeputyError::Busy`] while another answer is made, [`DeputyError::Closed`].
    pub fn send(
        &self,
        text: &str,
        options: AnswerOptions,
        on_text: OnText,
    ) -> Result<Pending<Answer>, DeputyError> {
        let cancel = Cancel::default();
        {
            let mut state = self.idle()?;
            state.answering = Some(cancel.clone());
        }
        let turn = Turn {
            engine: self.engine.clone(),
            talk: self.talk.clone(),
            cancel,
        };
        let message = Message {
            role: Role::User,
            text: text.to_owned(),
        };
        Ok(self
            .engine
            .worker
            .run(move || turn.answer(message, &options, on_text)))
    }

    /// As [`send`](Conversation::send), and waits for the answer.
    ///
    /// # Errors
    /// Those of `send`, and those of the answer; [`DeputyError::InCallback`] before anything is done.
    pub fn send_and_wait(
        &self,
        text: &str,
        options: AnswerOptions,
        on_text: OnText,
    ) -> Result<Answer, DeputyError> {
        if self.engine.worker.is_here() {
            return Err(DeputyError::InCallback);
        }
        self.send(text, options, on_text)?.wait()
    }

    /// As [`send_and_wait`](Conversation::send_and_wait), but `on_text` is called on this thread.
    ///
    /// # Errors
    /// Those of `send_and_wait`.
    pub fn send_here(
        &self,
        text: &str,
        options: AnswerOptions,
        on_text: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, DeputyError>,
    ) -> Result<Answer, DeputyError> {
        if self.engine.worker.is_here() {
            return Err(DeputyError::InCallback);
        }
        // Each piece is answered before the next one is made, so that stopping is exact.
        let (pieces, received): (Sender<String>, Receiver<String>) = mpsc::channel();
        let (flows, flow) = mpsc::channel();
        let pending = self.send(
            text,
            options,
            Box::new(move |text| {
                // Either end is gone only where this call has panicked.
                let sent = pieces.send(text.to_owned()).ok();
                sent.and_then(|()| flow.recv().ok())
                    .unwrap_or(Ok(ControlFlow::Break(())))
            }),
        )?;
        for piece in received {
            let _ = flows.send(on_text(&piece));
        }
        pending.wait()
    }

    /// Stops the answer that is being made, within a token. From any thread, callbacks included.
    pub fn cancel(&self) {
        if let Some(cancel) = &lock(&self.talk.state).answering {
            cancel.cancel();
        }
        self.engine.worker.gate.look();
    }

    /// What was said.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.talk.state).messages.clone()
    }

    /// Adds a message without answering it: to go on with a conversation that the app has kept.
    ///
    /// # Errors
    /// [`DeputyError::Busy`], [`DeputyError::Closed`]
    pub fn add(&self, message: Message) -> Result<(), DeputyError> {
        self.idle()?.messages.push(message);
        Ok(())
    }

    /// Forgets what was said, but for what the model is told before it.
    ///
    /// # Errors
    /// [`DeputyError::Busy`], [`DeputyError::Closed`]
    pub fn reset(&self) -> Result<(), DeputyError> {
        let system = self.talk.options.system.clone();
        let system = system.map(|text| Message {
            role: Role::System,
            text,
        });
        self.idle()?.messages = system.into_iter().collect();
        Ok(())
    }

    /// Cancels its answer and gives back its cache. Later calls find it [closed](DeputyError::Closed).
    pub fn close(&self) {
        lock(&self.talk.state).is_closed = true;
        self.cancel();
        self.engine.discard(self.talk.id);
    }

    fn idle(&self) -> Result<std::sync::MutexGuard<'_, State>, DeputyError> {
        self.engine.check_open()?;
        let state = lock(&self.talk.state);
        match &*state {
            State {
                is_closed: true, ..
            } => Err(DeputyError::Closed),
            State {
                answering: Some(_), ..
            } => Err(DeputyError::Busy),
            _ => Ok(state),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.close();
    }
}

/// An answer on the engine's thread. When it ends, however that is, the conversation is free again.
struct Turn {
    engine: Arc<Shared>,
    talk: Arc<Talk>,
    cancel: Cancel,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.talk.state).answering = None;
    }
}

impl Turn {
    fn answer(
        self,
        message: Message,
        options: &AnswerOptions,
        on_text: OnText,
    ) -> Result<Answer, DeputyError> {
        self.engine.set_current(&self.cancel)?;
        // Nothing is loaded on behalf of an app in the background.
        self.engine.worker.gate.pass(&self.cancel);
        self.engine.check_open()?;
        if self.cancel.is_cancelled() {
            return Ok(Answer::none());
        }
        let mut taken = self.engine.take(self.talk.id)?;
        let answered = self.generate(&mut taken.session, &message, options, on_text);
        let mut state = lock(&self.talk.state);
        if !state.is_closed {
            self.engine.put_back(self.talk.id, taken);
        }
        let answer = answered?;
        if answer.n_tokens > 0 || answer.stop != crate::StopReason::Cancelled {
            let text = answer.text.clone();
            state.messages.push(message);
            state.messages.push(Message {
                role: Role::Assistant,
                text,
            });
        }
        Ok(answer)
    }

    fn generate(
        &self,
        session: &mut deputy::Session,
        message: &Message,
        options: &AnswerOptions,
        mut on_text: OnText,
    ) -> Result<Answer, DeputyError> {
        let engine = session.engine().clone();
        if engine.branches().is_some() || self.talk.options.effort.is_some() {
            let effort = self.talk.options.effort.map(Routes::Effort);
            session.set_routes(&effort.unwrap_or_default())?;
        }
        let said = lock(&self.talk.state).messages.clone();
        let messages: Vec<_> = said
            .iter()
            .chain([message])
            .map(|m| deputy::tokenizer::Message::new(m.role.name(), &m.text))
            .collect();
        let prompt = engine.encode_chat(&messages, &RenderOptions::default())?;
        let mut options = options.generate(engine.config().sampler);
        let (gate, cancel) = (self.engine.worker.gate.clone(), self.cancel.clone());
        options.cancel = cancel.clone();
        options.before_step = Some(BeforeStep::new(move || gate.pass(&cancel)));
        let mut failed = None;
        let mut on_piece = |piece: deputy::Piece<'_>| {
            if piece.text.is_empty() {
                return ControlFlow::Continue(());
            }
            on_text(piece.text).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        };
        let answer = block_on(session.generate(&prompt, &options, &mut on_piece))?;
        match failed {
            Some(error) => Err(error),
            None => Ok(answer.into()),
        }
    }
}
