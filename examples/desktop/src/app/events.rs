//! What the engine reports.

use std::time::{Duration, Instant};

use super::{Action, App, Model, Notice, Offer};
use crate::chat::Answer;
use crate::engine::{Engine, Event, ModelInfo, Report};
use crate::problem::Problem;
use crate::settings::ModelRef;
use crate::store::now_ms;

/// A long answer is on disk again after so much time.
const SAVE_EVERY: Duration = Duration::from_secs(2);

impl App {
    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.engine.next_event() {
            self.take_event(event);
        }
        if self.engine.is_dead() {
            self.engine_died();
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Progress { done, total } => {
                if let Model::Loading {
                    done: d, total: t, ..
                } = &mut self.model
                {
                    (*d, *t) = (done, total);
                }
            }
            Event::Loaded(info) => self.loaded(info),
            Event::LoadFailed(problem) => self.load_failed(problem),
            Event::LoadCancelled => self.load_cancelled(),
            Event::Reading { id, n_prompt } => {
                if self.is_running(id)
                    && let Some(last) = &mut self.last
                {
                    last.n_prompt = Some(n_prompt);
                }
            }
            Event::Piece { id, text, at } => self.piece(id, &text, at),
            Event::Answered { id, report } => self.answered(id, report),
            Event::Failed { id, problem } => self.answer_failed(id, problem),
            Event::Estimated { id, estimate } if id == self.n_estimates => {
                self.estimate = Some(estimate);
            }
            // Another one is on its way.
            Event::Estimated { .. } => {}
            Event::Devices(devices) => self.devices = devices,
            Event::Picked(model) => self.act(Action::Consider(model)),
        }
    }

    fn is_running(&self, id: u64) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.id == id)
    }

    fn loaded(&mut self, info: Box<ModelInfo>) {
        if !matches!(&self.model, Model::Loading { model, .. } if *model == info.model) {
            return; // Another one has been asked for since.
        }
        self.settings.remember(&info.model);
        self.model = Model::Ready(info);
    }

    /// Unless another model is already on its way.
    fn load_cancelled(&mut self) {
        if matches!(&self.model, Model::Loading { cancel, .. } if cancel.is_cancelled()) {
            self.model = Model::None;
        }
    }

    fn load_failed(&mut self, problem: Problem) {
        let Model::Loading { model, .. } = std::mem::replace(&mut self.model, Model::None) else {
            return;
        };
        let mut offers = vec![Offer::Settings];
        if model != ModelRef::Default {
            offers.insert(0, Offer::DefaultModel);
        }
        // For Load again, and for the estimate of the settings.
        self.settings.model = model;
        self.notify_with(problem, offers);
    }

    fn piece(&mut self, id: u64, text: &str, at: Instant) {
        let Some(running) = self.running.as_mut().filter(|running| running.id == id) else {
            return;
        };
        let chat = running.chat.clone();
        let is_due = running.saved.elapsed() > SAVE_EVERY;
        if is_due {
            running.saved = Instant::now();
        }
        if let Some(last) = &mut self.last {
            last.speed.push(at);
        }
        let open = self.chat_mut(&chat).and_then(|chat| chat.open_answer());
        if let Some(answer) = open {
            answer.text.push_str(text);
        }
        if is_due {
            self.save_chat(&chat);
        }
    }

    fn answered(&mut self, id: u64, report: Box<Report>) {
        if !self.is_running(id) {
            return;
        }
        let Some(running) = self.running.take() else {
            return;
        };
        let model = self.ready().map(|info| info.model.label());
        if let Some(chat) = self.chat_mut(&running.chat) {
            if let Some(message) = chat.open_answer() {
                message.answer = Some(Answer {
                    model: model.unwrap_or_default(),
                    stop: report.stop,
                    n_tokens: report.n_tokens,
                    first_token_ms: report.first_token.as_secs_f64() * 1e3,
                    tokens_per_second: report.decode_tps,
                });
            }
            chat.updated_ms = now_ms();
            self.save_chat(&running.chat);
        }
        if report.recovered {
            self.notices.push(Notice {
                problem: Problem::new(
                    "The graphics device was lost and opened again",
                    "The answer went on where it was.",
                    "",
                ),
                is_error: false,
                offers: vec![],
            });
        }
        if let Some(last) = &mut self.last {
            last.report = Some(report);
        }
    }

    /// The question stays, and what there is of the answer.
    fn answer_failed(&mut self, id: u64, problem: Problem) {
        if !self.is_running(id) {
            return;
        }
        let Some(running) = self.running.take() else {
            return;
        };
        if let Some(chat) = self.chat_mut(&running.chat) {
            chat.abandon_answer();
            self.save_chat(&running.chat);
        }
        let too_long = problem.title.contains("longer than the context");
        let offers = match (&self.model, too_long) {
            (_, true) => vec![Offer::NewChat, Offer::Settings],
            (Model::None, _) => vec![],
            _ => vec![Offer::Retry, Offer::LoadAgain, Offer::DefaultModel],
        };
        self.notify_with(problem, offers);
    }

    /// A defect ended the thread: the conversation stays, and another thread takes over.
    fn engine_died(&mut self) {
        self.engine = Engine::start(self.wake.clone());
        self.model = Model::None;
        if let Some(running) = self.running.take()
            && let Some(chat) = self.chat_mut(&running.chat)
        {
            chat.abandon_answer();
            self.save_chat(&running.chat);
        }
        let problem = Problem::new(
            "The engine stopped unexpectedly",
            "This is a defect; the conversation is as it was.",
            "Please report what you did.",
        );
        self.notify_with(problem, vec![Offer::LoadAgain, Offer::DefaultModel]);
    }
}
