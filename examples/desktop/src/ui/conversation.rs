//! Questions and answers.

use std::time::{Duration, Instant};

use eframe::egui::{self, Align, Button, Layout, Rect, RichText, ScrollArea, TextStyle, Ui, vec2};
use egui_commonmark::CommonMarkViewer;

use super::theme::{ROUND, palette};
use super::widgets::{card, column, lines, primary, weak};
use crate::app::{Action, App, Editing, HeightKey, View};
use crate::chat::{Answer, Message, Role, Stop};
use crate::text;

/// How long a button says that it has copied.
const COPIED: Duration = Duration::from_millis(1500);

/// What a message is drawn with.
struct Place {
    at: usize,
    is_last: bool,
    /// Whether its answer is being written.
    is_open: bool,
    /// Whether the buttons that ask the engine would do something.
    can_ask: bool,
    /// What stands in the place of an answer that has no text yet.
    waiting: String,
}

pub(super) fn show(app: &mut App, ui: &mut Ui) -> Option<Action> {
    let is_answering = app.is_answering_here();
    let can_ask = app.can_ask();
    let waiting = waiting(app);
    let App {
        chats,
        current,
        view,
        ..
    } = app;
    let chat = chats.iter().find(|chat| chat.id == *current)?;
    let mut action = None;
    ScrollArea::vertical()
        .id_salt(&chat.id)
        .auto_shrink([false, false])
        .stick_to_bottom(true)
        .show(ui, |ui| {
            ui.add_space(14.0);
            column(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 6.0;
                for (at, message) in chat.messages.iter().enumerate() {
                    let is_last = at + 1 == chat.messages.len();
                    let place = Place {
                        at,
                        is_last,
                        is_open: is_last && is_answering,
                        can_ask,
                        waiting: waiting.clone(),
                    };
                    let asked = seen(ui, view, message, &place);
                    action = action.take().or(asked);
                }
            });
            ui.add_space(10.0);
        });
    action
}

fn waiting(app: &App) -> String {
    if app.ready().is_none() {
        return "Waiting for the model".to_owned();
    }
    match app.last.as_ref().and_then(|last| last.n_prompt) {
        Some(n) => format!("Reading {}", text::number(n, "token")),
        None => "Reading".to_owned(),
    }
}

/// Draws a message that is in sight, and leaves room for another.
fn seen(ui: &mut Ui, view: &mut View, message: &Message, place: &Place) -> Option<Action> {
    let key = HeightKey {
        at: place.at,
        n_bytes: message.text.len(),
        width: ui.available_width() as u32,
    };
    let is_still = !place.is_last && view.editing.as_ref().is_none_or(|e| e.at != place.at);
    let top = ui.cursor().top();
    if let Some(&height) = view.heights.get(&key).filter(|_| is_still) {
        let sight = ui.clip_rect().y_range().expand(200.0);
        if top + height < sight.min || top > sight.max {
            ui.allocate_space(vec2(ui.available_width(), height));
            return None;
        }
    }
    let drawn = ui.push_id(place.at, |ui| match message.role {
        Role::User => question(ui, view, message, place),
        Role::Assistant => answer(ui, view, message, place),
    });
    if is_still {
        view.heights.insert(key, drawn.response.rect.height());
    }
    drawn.inner
}

fn question(ui: &mut Ui, view: &mut View, message: &Message, place: &Place) -> Option<Action> {
    if view.editing.as_ref().is_some_and(|e| e.at == place.at) {
        return editor(ui, view, place);
    }
    let p = palette(ui.visuals());
    let font = TextStyle::Body.resolve(ui.style());
    let padding = 2.0 * 14.0;
    let most = ui.available_width() * 0.82 - padding;
    let galley = ui
        .painter()
        .layout(message.text.clone(), font, p.text, most);
    let width = galley.size().x.ceil() + padding + 1.0;
    let whole = ui.available_rect_before_wrap();
    let rect = Rect::from_x_y_ranges(whole.right() - width..=whole.right(), whole.y_range());
    ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| {
        egui::Frame::new()
            .fill(p.card)
            .corner_radius(ROUND + 4)
            .inner_margin(egui::Margin::symmetric(14, 9))
            .show(ui, |ui| ui.add(egui::Label::new(&message.text).wrap()));
    });
    let mut action = None;
    // A line of its own: the layout alone would be as high as all that is left.
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            copy(ui, view, place.at, &message.text);
            if ui
                .add_enabled(place.can_ask, small("Edit"))
                .on_hover_text("Ask something else here")
                .clicked()
            {
                view.editing = Some(Editing {
                    at: place.at,
                    text: message.text.clone(),
                    focus: true,
                });
            }
            // A failed answer leaves its question as the last message.
            if place.is_last && ui.add_enabled(place.can_ask, small("Retry")).clicked() {
                action = Some(Action::Retry);
            }
        });
    });
    action
}

/// A question that is being changed. What comes behind it will be forgotten.
fn editor(ui: &mut Ui, view: &mut View, place: &Place) -> Option<Action> {
    let editing = view.editing.as_mut()?;
    let mut action = None;
    let mut is_cancelled = false;
    let p = palette(ui.visuals());
    card(ui, p.card).show(ui, |ui| {
        let id = egui::Id::unique(("editing", place.at));
        let (field, is_entered) = lines(ui, id, &mut editing.text, "");
        if std::mem::take(&mut editing.focus) {
            field.request_focus();
        }
        ui.horizontal(|ui| {
            let is_sent = primary(ui, "Send").clicked() || is_entered;
            if is_sent && !editing.text.trim().is_empty() && place.can_ask {
                action = Some(Action::Edit(place.at, editing.text.clone()));
            }
            is_cancelled = ui.button("Cancel").clicked();
            weak(ui, "What was said after it is replaced.");
        });
    });
    if is_cancelled {
        view.editing = None;
    }
    action
}

fn answer(ui: &mut Ui, view: &mut View, message: &Message, place: &Place) -> Option<Action> {
    let mut action = None;
    if message.text.is_empty() && place.is_open {
        // Dots that move need few frames.
        let dots = (ui.input(|input| input.time) * 2.5) as usize % 4;
        weak(ui, format!("{}{}", place.waiting, ".".repeat(dots)));
        ui.ctx().request_repaint_after(Duration::from_millis(400));
        return None;
    }
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 8.0;
        CommonMarkViewer::new().show(ui, &mut view.markdown, &message.text);
    });
    if place.is_open {
        return None;
    }
    ui.horizontal(|ui| {
        copy(ui, view, place.at, &message.text);
        if place.is_last && ui.add_enabled(place.can_ask, small("Retry")).clicked() {
            action = Some(Action::Retry);
        }
        weak(ui, summary(message.answer.as_ref()));
    });
    ui.add_space(8.0);
    action
}

/// `42 tokens, 55 tokens/s, first after 120 ms`.
fn summary(answer: Option<&Answer>) -> String {
    let Some(answer) = answer else {
        return "not finished".to_owned();
    };
    let first = Duration::from_secs_f64(answer.first_token_ms.max(0.0) / 1e3);
    let mut parts = vec![text::number(answer.n_tokens, "token")];
    if answer.tokens_per_second > 0.0 {
        parts.push(format!("{} a second", text::rate(answer.tokens_per_second)));
        parts.push(format!("first after {}", text::duration(first)));
    }
    match answer.stop {
        Stop::End => {}
        Stop::ContextFull => parts.push("the context is full".to_owned()),
        Stop::Stopped => parts.push("stopped".to_owned()),
    }
    parts.join(", ")
}

fn copy(ui: &mut Ui, view: &mut View, at: usize, text: &str) {
    let is_copied = view
        .copied
        .is_some_and(|(copied, when)| copied == at && when.elapsed() < COPIED);
    let label = if is_copied { "Copied" } else { "Copy" };
    if ui.add(small(label)).clicked() {
        ui.ctx().copy_text(text.to_owned());
        view.copied = Some((at, Instant::now()));
        ui.ctx().request_repaint_after(COPIED);
    }
}

fn small(text: &str) -> Button<'_> {
    Button::new(RichText::new(text).small().weak()).frame_when_inactive(false)
}
