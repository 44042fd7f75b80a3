//! The window's state. [`actions`] is what the user does, [`events`] what the engine reports; the
//! modules of [`crate::ui`] draw it.

mod actions;
mod events;

pub(crate) use actions::Action;

use std::collections::HashMap;
use std::time::Instant;

use deputy::Cancel;
use eframe::egui;
use egui_commonmark::CommonMarkCache;

use crate::chat::Chat;
use crate::engine::{Engine, Estimate, ModelInfo, Report, Wake};
use crate::problem::Problem;
use crate::settings::{ModelRef, Settings};
use crate::speed::Speed;
use crate::store::Store;

/// Everything that the window shows.
pub(crate) struct App {
    store: Store,
    engine: Engine,
    wake: Wake,
    pub(crate) settings: Settings,
    /// As they lie on disk.
    saved: Settings,
    /// The latest first. One without messages is not on disk.
    pub(crate) chats: Vec<Chat>,
    /// The chat that is shown.
    pub(crate) current: String,
    pub(crate) model: Model,
    pub(crate) devices: Vec<String>,
    /// The answer that is being written.
    pub(crate) running: Option<Running>,
    /// The answer that the side panel is about: the one that is being written, or the last one.
    pub(crate) last: Option<LastAnswer>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) dialog: Option<Dialog>,
    /// Of the model that a dialog is about.
    pub(crate) estimate: Option<Result<Box<Estimate>, Problem>>,
    pub(crate) view: View,
    /// Answers asked for so far.
    n_answers: u64,
    /// Estimates asked for so far; only the last one counts.
    n_estimates: u64,
    /// Answers to the same question so far, so that a chosen seed gives another one.
    n_retries: u64,
}

pub(crate) enum Model {
    None,
    Loading {
        model: ModelRef,
        done: u64,
        total: u64,
        cancel: Cancel,
    },
    Ready(Box<ModelInfo>),
}

pub(crate) struct Running {
    id: u64,
    pub(crate) chat: String,
    cancel: Cancel,
    /// When what is there so far was last written to disk.
    saved: Instant,
}

pub(crate) struct LastAnswer {
    /// Of the prompt; `None` before it has been encoded.
    pub(crate) n_prompt: Option<usize>,
    pub(crate) speed: Speed,
    /// Once it is finished.
    pub(crate) report: Option<Box<Report>>,
}

/// A message above the input.
pub(crate) struct Notice {
    pub(crate) problem: Problem,
    pub(crate) is_error: bool,
    pub(crate) offers: Vec<Offer>,
}

/// A button of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Retry,
    NewChat,
    LoadAgain,
    DefaultModel,
    Settings,
}

/// What a window leaves behind, beside what is on disk.
pub(crate) struct Unfinished {
    /// The chat that was shown.
    pub(crate) chat: String,
    /// What was being typed.
    pub(crate) draft: String,
}

pub(crate) enum Dialog {
    Settings,
    /// Which model; the text of its path field.
    Models(String),
    /// Whether to load a model; its estimate is on its way or there.
    Confirm(ModelRef),
    Delete(String),
    Rename {
        chat: String,
        title: String,
    },
}

/// What is shown of the state, and how.
#[derive(Default)]
pub(crate) struct View {
    /// What is being typed.
    pub(crate) draft: String,
    pub(crate) focus_draft: bool,
    pub(crate) editing: Option<Editing>,
    pub(crate) markdown: CommonMarkCache,
    /// Of messages as they were last drawn, so that those out of sight need not be laid out.
    pub(crate) heights: HashMap<HeightKey, f32>,
    /// A message whose text was copied, and when.
    pub(crate) copied: Option<(usize, Instant)>,
    /// Whether the routes of the prompt are drawn beside the answer's.
    pub(crate) whole_path: bool,
}

/// A question that is being edited.
pub(crate) struct Editing {
    pub(crate) at: usize,
    pub(crate) text: String,
    pub(crate) focus: bool,
}

/// A message and all that its height depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HeightKey {
    pub(crate) at: usize,
    pub(crate) n_bytes: usize,
    pub(crate) width: u32,
}

impl App {
    /// Reads chats and settings, and begins to load `model`, or the last one.
    pub(crate) fn new(store: Store, model: Option<ModelRef>, wake: Wake) -> Self {
        let engine = Engine::start(wake.clone());
        engine.list_devices();
        let (settings, unreadable) = store.settings();
        let (mut chats, errors) = store.chats();
        let first = store.new_chat();
        let current = first.id.clone();
        chats.insert(0, first);
        let mut app = Self {
            store,
            engine,
            wake,
            saved: settings.clone(),
            settings,
            chats,
            current,
            model: Model::None,
            devices: vec![],
            running: None,
            last: None,
            notices: vec![],
            dialog: None,
            estimate: None,
            view: View {
                focus_draft: true,
                ..View::default()
            },
            n_answers: 0,
            n_estimates: 0,
            n_retries: 0,
        };
        if let Some(error) = unreadable {
            let title = "The settings cannot be read, so these are the defaults";
            app.notify(Problem {
                remedy: "What was there is kept as settings.unreadable.json.",
                ..Problem::of_store(title, &error)
            });
        }
        for error in errors {
            app.notify(Problem {
                remedy: "The file is left as it is.",
                ..Problem::of_store("A chat cannot be read", &error)
            });
        }
        let model = model.unwrap_or_else(|| app.settings.model.clone());
        app.load(model);
        app
    }

    /// The chat that is shown.
    pub(crate) fn chat(&self) -> Option<&Chat> {
        self.chats.iter().find(|chat| chat.id == self.current)
    }

    pub(crate) fn chat_mut(&mut self, id: &str) -> Option<&mut Chat> {
        self.chats.iter_mut().find(|chat| chat.id == id)
    }

    /// Of the window.
    pub(crate) fn title(&self) -> String {
        match self.chat().filter(|chat| !chat.messages.is_empty()) {
            Some(chat) => format!("{} – deputy", chat.title()),
            None => "deputy".to_owned(),
        }
    }

    /// The model that answers.
    pub(crate) fn ready(&self) -> Option<&ModelInfo> {
        match &self.model {
            Model::Ready(info) => Some(info),
            Model::None | Model::Loading { .. } => None,
        }
    }

    /// Whether a question can be asked now; one that is asked while a model is being loaded waits for it.
    pub(crate) fn can_ask(&self) -> bool {
        self.running.is_none() && !matches!(self.model, Model::None)
    }

    /// Whether the answer that is being written belongs to the chat that is shown.
    pub(crate) fn is_answering_here(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.chat == self.current)
    }

    /// What the engine is doing, for measurements.
    pub(crate) fn engine_state(&self) -> &'static str {
        let answering = self.running.is_some();
        match (&self.model, &self.last) {
            (Model::Loading { .. }, _) => "load",
            (_, Some(last)) if answering && last.speed.n_tokens() > 0 => "decode",
            _ if answering => "prefill",
            _ => "idle",
        }
    }

    /// A frame: what has happened, keys, and everything drawn.
    pub(crate) fn show(&mut self, ui: &mut egui::Ui) {
        self.take_events();
        crate::ui::show(self, ui);
        self.save_settings(ui.ctx());
    }

    /// Goes on where another window failed.
    pub(crate) fn go_on(&mut self, unfinished: Unfinished) {
        self.act(Action::Open(unfinished.chat));
        self.view.draft = unfinished.draft;
        self.notices.push(Notice {
            problem: Problem::new(
                "The window failed and was opened again",
                "Its graphics device was lost, most likely. The conversation is as it was.",
                "",
            ),
            is_error: false,
            offers: vec![],
        });
    }

    /// Writes settings that have changed, once nothing is being dragged.
    fn save_settings(&mut self, ctx: &egui::Context) {
        if self.settings == self.saved || ctx.input(|input| input.pointer.any_down()) {
            return;
        }
        self.saved = self.settings.clone();
        if let Err(error) = self.store.save_settings(&self.settings) {
            self.notify(Problem::of_store("The settings cannot be saved", &error));
        }
    }

    /// Shows an error.
    fn notify(&mut self, problem: Problem) {
        self.notify_with(problem, vec![]);
    }

    /// Shows an error with buttons. The same one again takes the place of the first.
    fn notify_with(&mut self, problem: Problem, offers: Vec<Offer>) {
        self.notices.retain(|notice| notice.problem != problem);
        self.notices.push(Notice {
            problem,
            is_error: true,
            offers,
        });
    }
}
