//! What went wrong, above the input, until it is dismissed.

use eframe::egui::{Align, Label, Layout, RichText, Stroke, Ui};

use super::theme::palette;
use super::widgets::{card, column, named, primary};
use crate::app::{Action, App, Notice, Offer};

/// Notices that are shown at a time.
const MOST: usize = 3;

pub(super) fn show(app: &App, ui: &mut Ui) -> Option<Action> {
    let first = app.notices.len().saturating_sub(MOST);
    let mut action = None;
    for (at, notice) in app.notices.iter().enumerate().skip(first) {
        column(ui, |ui| action = action.take().or(one(app, ui, at, notice)));
        ui.add_space(8.0);
    }
    action
}

fn one(app: &App, ui: &mut Ui, at: usize, notice: &Notice) -> Option<Action> {
    let mut action = None;
    let p = palette(ui.visuals());
    let (fill, color) = match notice.is_error {
        true => (p.error_card, p.error),
        false => (p.side, p.accent),
    };
    let frame = card(ui, fill).stroke(Stroke::new(1.0, color.gamma_multiply(0.5)));
    frame.show(ui, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
            let close = ui.add(eframe::egui::Button::new("✖").small().frame(false));
            if named(close, "Dismiss").clicked() {
                action = Some(Action::Dismiss(at));
            }
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 4.0;
                let problem = &notice.problem;
                ui.add(Label::new(RichText::new(&problem.title).color(color).strong()).wrap());
                for text in [problem.detail.as_str(), problem.remedy] {
                    if !text.is_empty() {
                        ui.add(Label::new(RichText::new(text).size(13.5)).wrap());
                    }
                }
                action = action.take().or(offers(app, ui, at, notice));
            });
        });
    });
    action
}

fn offers(app: &App, ui: &mut Ui, at: usize, notice: &Notice) -> Option<Action> {
    if notice.offers.is_empty() {
        return None;
    }
    let mut action = None;
    ui.add_space(2.0);
    ui.horizontal_wrapped(|ui| {
        for (i, &offer) in notice.offers.iter().enumerate() {
            let label = match offer {
                Offer::Retry => "Try again",
                Offer::NewChat => "New chat",
                Offer::LoadAgain => "Load the model again",
                Offer::DefaultModel => "Use the default model",
                Offer::Settings => "Settings",
            };
            if offer == Offer::Retry && !app.chat().is_some_and(|chat| chat.can_retry()) {
                continue;
            }
            let button = match i {
                0 => primary(ui, label),
                _ => ui.button(label),
            };
            if button.clicked() {
                action = Some(Action::Take(at, offer));
            }
        }
    });
    action
}
