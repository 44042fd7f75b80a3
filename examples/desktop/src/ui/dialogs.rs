//! What covers the window: settings, the choice of a model, questions before something is done.

use eframe::egui::{self, Frame, Id, Key, Margin, Modal, TextEdit, Ui};

use super::widgets::{primary, weak};
use super::{models, settings};
use crate::app::{Action, App, Dialog};

/// Wide enough for a path.
const WIDTH: f32 = 500.0;

pub(super) fn show(app: &mut App, ctx: &egui::Context) -> Vec<Action> {
    // Taken out, so that its parts can see the rest of the state.
    let Some(mut dialog) = app.dialog.take() else {
        return vec![];
    };
    let mut actions = vec![];
    let frame = Frame::popup(&ctx.global_style()).inner_margin(Margin::same(20));
    let modal = Modal::new(Id::unique("dialog")).frame(frame);
    let modal = modal.show(ctx, |ui| {
        ui.set_width(WIDTH.min(ctx.content_rect().width() - 60.0));
        let action = match &mut dialog {
            Dialog::Settings => settings::show(app, ui),
            Dialog::Models(path) => models::choose(app, path, ui),
            Dialog::Confirm(model) => models::confirm(app, model, ui),
            Dialog::Delete(chat) => delete(app, chat, ui),
            Dialog::Rename { chat, title } => rename(chat, title, ui),
        };
        actions.extend(action);
    });
    app.dialog = Some(dialog);
    if modal.should_close() && actions.is_empty() {
        actions.push(Action::CloseDialog);
    }
    actions
}

fn delete(app: &App, id: &str, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.heading("Delete this chat?");
    let title = app.chats.iter().find(|chat| chat.id == id);
    ui.label(title.map(|chat| chat.title()).unwrap_or_default());
    weak(ui, "Its file is removed. There is no way back.");
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        if primary(ui, "Delete").clicked() {
            action = Some(Action::Delete(id.to_owned()));
        }
        if ui.button("Keep").clicked() {
            action = Some(Action::CloseDialog);
        }
    });
    action
}

fn rename(chat: &str, title: &mut String, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.heading("Rename this chat");
    let field = ui.add(TextEdit::singleline(title).desired_width(f32::INFINITY));
    let is_entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    if !field.has_focus() && !is_entered {
        field.request_focus();
    }
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        if primary(ui, "Rename").clicked() || is_entered {
            action = Some(Action::Rename(chat.to_owned(), title.clone()));
        }
        if ui.button("Cancel").clicked() {
            action = Some(Action::CloseDialog);
        }
    });
    action
}
