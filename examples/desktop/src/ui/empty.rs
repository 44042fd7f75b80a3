//! Before the first question: what one could ask.

use eframe::egui::{self, Align, Button, Layout, ProgressBar, RichText, Ui, vec2};

use super::theme::palette;
use super::widgets::{column, primary};
use crate::app::{Action, App, Model};
use crate::settings::ModelRef;

/// What the small model that is compiled in was made for.
const SMALL: [&str; 4] = [
    "What is the capital of France?",
    "Tell me a story about a fox.",
    "My name is Anna and I like pears.",
    "Count from one to ten.",
];

const LARGE: [&str; 4] = [
    "Explain how a rainbow comes about.",
    "Decline an invitation politely, in three sentences.",
    "Plan three days in Lisbon.",
    "Write a Python function that reverses a list.",
];

pub(super) fn show(app: &App, ui: &mut Ui) -> Option<Action> {
    column(ui, |ui| {
        let mut action = None;
        ui.add_space((ui.available_height() * 0.5 - 150.0).max(16.0));
        ui.vertical_centered(|ui| {
            ui.label(RichText::new("What would you like to talk about?").heading());
            ui.add_space(2.0);
            ui.label(RichText::new(about(app)).weak());
            ui.add_space(14.0);
            match &app.model {
                Model::None => {
                    if primary(ui, "Choose a model").clicked() {
                        action = Some(Action::Models);
                    }
                }
                Model::Loading { done, total, .. } => {
                    let part = *done as f32 / (*total).max(1) as f32;
                    let bar = ProgressBar::new(part).desired_width(260.0);
                    ui.add(bar.desired_height(8.0));
                }
                Model::Ready(_) => {}
            }
        });
        if !matches!(app.model, Model::None) {
            ui.add_space(6.0);
            action = action.take().or(suggestions(app, ui));
        }
        action
    })
}

fn about(app: &App) -> &'static str {
    match &app.model {
        Model::None => "A model is needed first.",
        Model::Loading { .. } => "The model is being loaded. You can ask already.",
        Model::Ready(info) if info.model == ModelRef::Default => {
            "The default model is very small. It chats, knows simple facts and makes mistakes."
        }
        Model::Ready(info) if !info.has_template => {
            "This model brings no chat template, so it may not have been trained to talk."
        }
        Model::Ready(_) => "Everything stays on this computer.",
    }
}

/// Two by two.
fn suggestions(app: &App, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    let model = match &app.model {
        Model::Loading { model, .. } => Some(model),
        _ => app.ready().map(|info| &info.model),
    };
    let texts = match model {
        Some(ModelRef::Default) => SMALL,
        _ => LARGE,
    };
    let p = palette(ui.visuals());
    let gap = 10.0;
    let width = (ui.available_width() - gap) / 2.0;
    for row in texts.chunks(2) {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            for text in row {
                let layout = Layout::left_to_right(Align::Center);
                ui.allocate_ui_with_layout(vec2(width, 46.0), layout, |ui| {
                    let button = Button::new(RichText::new(*text).color(p.text))
                        .wrap()
                        .corner_radius(egui::CornerRadius::same(super::theme::ROUND))
                        .min_size(vec2(width, 46.0));
                    if ui.add(button).clicked() {
                        action = Some(Action::Ask((*text).to_owned()));
                    }
                });
            }
        });
    }
    action
}
