//! What the user does.

use std::time::Instant;

use deputy::Cancel;

use super::{App, Dialog, LastAnswer, Model, Offer, Running, Unfinished};
use crate::engine::{AnswerRequest, Command, Event, LoadRequest};
use crate::problem::Problem;
use crate::settings::ModelRef;
use crate::speed::Speed;
use crate::store::now_ms;

/// What a click or a key asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Send,
    /// A question from the empty state.
    Ask(String),
    Stop,
    Retry,
    Edit(usize, String),
    NewChat,
    Open(String),
    AskDelete(String),
    Delete(String),
    AskRename(String),
    Rename(String, String),
    Models,
    /// A dialog of the system.
    PickFolder,
    PickFile,
    /// Find out what a model needs, then ask whether to load it.
    Consider(ModelRef),
    Load(ModelRef),
    StopLoading,
    Settings,
    CloseDialog,
    Dismiss(usize),
    Take(usize, Offer),
}

impl App {
    pub(crate) fn act(&mut self, action: Action) {
        // What comes next is typed; where a dialog is opened, once it is closed.
        self.view.focus_draft = true;
        match action {
            Action::Send => {
                let text = self.view.draft.trim().to_owned();
                if !text.is_empty() && self.can_ask() {
                    self.view.draft.clear();
                    self.ask(&text);
                }
            }
            Action::Ask(text) if self.can_ask() => self.ask(&text),
            Action::Ask(text) => self.view.draft = text,
            Action::Stop => self.stop(),
            Action::Retry => self.retry(),
            Action::Edit(at, text) => self.edit(at, &text),
            Action::NewChat => self.new_chat(),
            Action::Open(id) => self.open(id),
            Action::AskDelete(id) => self.dialog = Some(Dialog::Delete(id)),
            Action::Delete(id) => self.delete(&id),
            Action::AskRename(id) => {
                let title = self.chat_mut(&id).map(|chat| chat.title());
                let title = title.unwrap_or_default();
                self.dialog = Some(Dialog::Rename { chat: id, title });
            }
            Action::Rename(id, title) => self.rename(&id, &title),
            Action::Models => self.dialog = Some(Dialog::Models(String::new())),
            Action::PickFolder => self.pick(true),
            Action::PickFile => self.pick(false),
            Action::Consider(model) => self.consider(model),
            Action::Load(model) => {
                self.dialog = None;
                self.load(model);
            }
            Action::StopLoading => self.stop_loading(),
            Action::Settings => {
                self.dialog = Some(Dialog::Settings);
                self.estimate_current();
            }
            Action::CloseDialog => self.dialog = None,
            Action::Dismiss(at) => drop(self.notices.remove(at)),
            Action::Take(at, offer) => {
                self.notices.remove(at);
                self.take(offer);
            }
        }
    }

    fn take(&mut self, offer: Offer) {
        match offer {
            Offer::Retry => self.retry(),
            Offer::NewChat => self.new_chat(),
            Offer::LoadAgain => self.load(self.settings.model.clone()),
            Offer::DefaultModel => self.load(ModelRef::Default),
            Offer::Settings => self.act(Action::Settings),
        }
    }

    fn ask(&mut self, text: &str) {
        let id = self.current.clone();
        if let Some(chat) = self.chat_mut(&id) {
            chat.ask(text);
            self.n_retries = 0;
            self.begin(&id);
        }
    }

    fn retry(&mut self) {
        let id = self.current.clone();
        if self.can_ask() && self.chat_mut(&id).is_some_and(|chat| chat.retry()) {
            self.n_retries += 1;
            self.begin(&id);
        }
    }

    fn edit(&mut self, at: usize, text: &str) {
        let (id, text) = (self.current.clone(), text.trim());
        if text.is_empty() || !self.can_ask() {
            return;
        }
        if self.chat_mut(&id).is_some_and(|chat| chat.edit(at, text)) {
            self.view.editing = None;
            self.n_retries = 0;
            self.begin(&id);
        }
    }

    /// Has the engine write the open answer of a chat.
    fn begin(&mut self, id: &str) {
        let system = self.settings.answer.system.clone();
        let Some(at) = self.chats.iter().position(|chat| chat.id == id) else {
            return;
        };
        let mut chat = self.chats.remove(at);
        chat.updated_ms = now_ms();
        let messages = chat.prompt(&system);
        self.chats.insert(0, chat);
        self.save_chat(id);
        self.n_answers += 1;
        let cancel = Cancel::default();
        let now = Instant::now();
        self.running = Some(Running {
            id: self.n_answers,
            chat: id.to_owned(),
            cancel: cancel.clone(),
            saved: now,
        });
        self.last = Some(LastAnswer {
            n_prompt: None,
            speed: Speed::new(now),
            report: None,
        });
        let chosen = self.settings.answer.seed;
        self.engine.send(Command::Answer(AnswerRequest {
            id: self.n_answers,
            messages,
            settings: self.settings.answer.clone(),
            seed: chosen.map_or_else(now_ms, |seed| seed.wrapping_add(self.n_retries)),
            cancel,
        }));
    }

    pub(super) fn stop(&mut self) {
        if let Some(running) = &self.running {
            running.cancel.cancel();
        }
    }

    fn new_chat(&mut self) {
        let empty = self.chats.iter().find(|chat| chat.messages.is_empty());
        let id = match empty {
            Some(chat) => chat.id.clone(),
            None => {
                let chat = self.store.new_chat();
                let id = chat.id.clone();
                self.chats.insert(0, chat);
                id
            }
        };
        self.open(id);
    }

    fn open(&mut self, id: String) {
        // A chat that another window failed with may never have been written.
        if self.current != id && self.chats.iter().any(|chat| chat.id == id) {
            self.current = id;
            self.view.editing = None;
            self.view.heights.clear();
            self.view.markdown = Default::default();
        }
    }

    fn delete(&mut self, id: &str) {
        self.dialog = None;
        if self.running.as_ref().is_some_and(|r| r.chat == id) {
            self.stop();
            self.running = None;
        }
        if let Err(error) = self.store.delete_chat(id) {
            return self.notify(Problem::of_store("The chat cannot be deleted", &error));
        }
        self.chats.retain(|chat| chat.id != id);
        if self.current == id {
            self.new_chat();
        }
    }

    fn rename(&mut self, id: &str, title: &str) {
        self.dialog = None;
        let title = Some(title.trim().to_owned()).filter(|title| !title.is_empty());
        if let Some(chat) = self.chat_mut(id) {
            chat.title = title;
            self.save_chat(id);
        }
    }

    /// Begins to load a model; the answer that is being written ends.
    pub(super) fn load(&mut self, model: ModelRef) {
        self.stop();
        self.stop_loading();
        let cancel = Cancel::default();
        self.model = Model::Loading {
            model: model.clone(),
            done: 0,
            total: 0,
            cancel: cancel.clone(),
        };
        let settings = self.settings.load.clone();
        self.engine.send(Command::Load(LoadRequest {
            model,
            settings,
            cancel,
        }));
    }

    fn stop_loading(&self) {
        if let Model::Loading { cancel, .. } = &self.model {
            cancel.cancel();
        }
    }

    fn consider(&mut self, model: ModelRef) {
        self.estimate_of(model.clone());
        self.dialog = Some(Dialog::Confirm(model));
    }

    /// What the model in use would need as the settings are now.
    pub(crate) fn estimate_current(&mut self) {
        self.estimate_of(self.settings.model.clone());
    }

    fn estimate_of(&mut self, model: ModelRef) {
        self.estimate = None;
        let settings = self.settings.load.clone();
        self.n_estimates += 1;
        let request = LoadRequest {
            model,
            settings,
            cancel: Cancel::default(),
        };
        self.engine.estimate(self.n_estimates, request);
    }

    /// Opens a dialog of the system. It is made here, since macOS wants that on the main thread, and
    /// waited for on another.
    fn pick(&mut self, folder: bool) {
        let dialog = rfd::AsyncFileDialog::new();
        let outbox = self.engine.outbox();
        let wait = move |picked: Option<rfd::FileHandle>| {
            if let Some(picked) = picked {
                outbox.send(Event::Picked(ModelRef::Path(picked.path().to_owned())));
            }
        };
        if folder {
            let picked = dialog.set_title("A folder with a model").pick_folder();
            std::thread::spawn(move || wait(pollster::block_on(picked)));
        } else {
            let dialog = dialog.set_title("A GGUF file");
            let picked = dialog.add_filter("GGUF", &["gguf"]).pick_file();
            std::thread::spawn(move || wait(pollster::block_on(picked)));
        }
    }

    /// Writes a chat to disk.
    pub(super) fn save_chat(&mut self, id: &str) {
        let Some(chat) = self.chats.iter().find(|chat| chat.id == id) else {
            return;
        };
        if let Err(error) = self.store.save_chat(chat) {
            self.notify(Problem {
                remedy: "The conversation is still here, but not on disk.",
                ..Problem::of_store("The chat cannot be saved", &error)
            });
        }
    }

    /// Before the window closes: what there is of an answer is kept.
    pub(crate) fn close(&mut self) -> Unfinished {
        if let Some(running) = self.running.take() {
            running.cancel.cancel();
            if let Some(chat) = self.chat_mut(&running.chat) {
                chat.abandon_answer();
            }
            self.save_chat(&running.chat);
        }
        Unfinished {
            chat: self.current.clone(),
            draft: std::mem::take(&mut self.view.draft),
        }
    }
}
