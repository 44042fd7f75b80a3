//! The line above the conversation: the model, and the switches of the panels.

use eframe::egui::{self, Align, Button, Layout, RichText, Ui};

use super::widgets::quiet;
use crate::app::{Action, App, Model};

pub(super) fn show(app: &mut App, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.horizontal(|ui| {
        if quiet(ui, "☰", "Show or hide the chats").clicked() {
            app.settings.show_chats = !app.settings.show_chats;
        }
        let (name, state) = match &app.model {
            Model::None => ("Choose a model".to_owned(), None),
            Model::Loading { model, .. } => (model.label(), Some("loading…".to_owned())),
            Model::Ready(info) => (info.model.label(), Some(format!("on {}", info.device))),
        };
        let button = Button::new(RichText::new(format!("{name}  ⏷")).strong()).truncate();
        if ui.add(button).on_hover_text("Choose a model").clicked() {
            action = Some(Action::Models);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if quiet(ui, "📊", "Show or hide what the engine does").clicked() {
                app.settings.show_engine = !app.settings.show_engine;
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                if let Some(state) = state {
                    let label = egui::Label::new(RichText::new(state).small().weak());
                    ui.add(label.truncate());
                }
            });
        });
    });
    action
}
