//! The list of conversations on the left.

use eframe::egui::{self, Button, RichText, ScrollArea, Ui, vec2};

use super::theme::palette;
use super::widgets::{quiet, weak};
use crate::app::{Action, App};

pub(super) fn show(app: &App, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    let new = Button::new("+  New chat")
        .shortcut_text(RichText::new(shortcut(ui, egui::Key::N)).small())
        .min_size(vec2(ui.available_width(), 32.0));
    if ui.add(new).clicked() {
        action = Some(Action::NewChat);
    }
    ui.add_space(6.0);
    egui::Panel::bottom("chats foot")
        .frame(egui::Frame::new())
        .show_separator_line(false)
        .show(ui, |ui| {
            if quiet(ui, "⚙  Settings", "Settings").clicked() {
                action = Some(Action::Settings);
            }
        });
    let asked = app.chats.iter().filter(|chat| !chat.messages.is_empty());
    let mut is_empty = true;
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for chat in asked {
                is_empty = false;
                action = action.take().or(entry(app, ui, &chat.id, &chat.title()));
            }
            if is_empty {
                ui.add_space(4.0);
                weak(ui, "Your chats will be listed here.");
            }
        });
    action
}

/// One chat: a click opens it, a click with the other button has more.
fn entry(app: &App, ui: &mut Ui, id: &str, title: &str) -> Option<Action> {
    let mut action = None;
    let p = palette(ui.visuals());
    let is_open = app.current == id;
    let is_writing = app.running.as_ref().is_some_and(|r| r.chat == id);
    let text = match is_writing {
        true => format!("✏ {title}"),
        false => title.to_owned(),
    };
    let color = if is_open { p.text } else { p.weak };
    let button = Button::selectable(is_open, RichText::new(text).color(color))
        .truncate()
        .min_size(vec2(ui.available_width(), 30.0));
    let response = ui.add(button);
    if response.clicked() {
        action = Some(Action::Open(id.to_owned()));
    }
    response.context_menu(|ui| {
        if ui.button("Rename…").clicked() {
            action = Some(Action::AskRename(id.to_owned()));
            ui.close();
        }
        if ui.button("Delete…").clicked() {
            action = Some(Action::AskDelete(id.to_owned()));
            ui.close();
        }
    });
    action
}

/// As the platform writes it.
pub(super) fn shortcut(ui: &Ui, key: egui::Key) -> String {
    let shortcut = egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, key);
    ui.ctx().format_shortcut(&shortcut)
}
