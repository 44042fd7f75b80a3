//! Where questions are typed.

use eframe::egui::{self, Button, RichText, ScrollArea, Stroke, Ui, vec2};

use super::theme::palette;
use super::widgets::{card, column, lines, named, weak};
use crate::app::{Action, App, Model};
use crate::text;

/// Width and height of the button.
const BUTTON: f32 = 34.0;

pub(super) fn show(app: &mut App, ui: &mut Ui) -> Option<Action> {
    column(ui, |ui| {
        let mut action = None;
        let p = palette(ui.visuals());
        let id = egui::Id::unique("draft");
        let has_focus = ui.memory(|memory| memory.has_focus(id));
        let frame = card(ui, p.card);
        let frame = if has_focus {
            frame.stroke(Stroke::new(1.0, p.accent))
        } else {
            frame
        };
        frame.show(ui, |ui| {
            ui.horizontal(|ui| {
                let width = ui.available_width() - BUTTON - ui.spacing().item_spacing.x - 4.0;
                let area = ScrollArea::vertical().max_height(180.0).id_salt("draft");
                let area = area.min_scrolled_height(24.0);
                area.max_width(width).show(ui, |ui| {
                    ui.set_width(width);
                    let draft = &mut app.view.draft;
                    let (field, is_entered) = lines(ui, id, draft, "Ask something");
                    if is_entered {
                        action = Some(Action::Send);
                    }
                    if app.view.focus_draft && app.dialog.is_none() {
                        field.request_focus();
                        app.view.focus_draft = false;
                    }
                });
                action = action.take().or(button(app, ui));
            });
        });
        ui.add_space(2.0);
        ui.horizontal(|ui| {
            weak(ui, status(app));
            let is_loading = matches!(app.model, Model::Loading { .. });
            if is_loading && ui.small_button("Cancel").clicked() {
                action = Some(Action::StopLoading);
            }
        });
        action
    })
}

/// Sends, or stops what is being written.
fn button(app: &App, ui: &mut Ui) -> Option<Action> {
    let p = palette(ui.visuals());
    let round = |symbol: &str, fill| {
        Button::new(RichText::new(symbol).size(17.0).color(p.on_accent))
            .fill(fill)
            .corner_radius(17)
            .min_size(vec2(BUTTON, BUTTON))
    };
    if app.running.is_some() {
        let stop = named(ui.add(round("⏹", p.weak)), "Stop (Esc)");
        return stop.clicked().then_some(Action::Stop);
    }
    let can_send = app.can_ask() && !app.view.draft.trim().is_empty();
    let fill = if can_send { p.accent } else { p.weak };
    let send = ui.add_enabled(can_send, round("⬆", fill));
    named(send, "Send (Enter)")
        .clicked()
        .then_some(Action::Send)
}

/// What can be done now.
fn status(app: &App) -> String {
    match &app.model {
        Model::None => "No model is loaded. Choose one at the top.".to_owned(),
        Model::Loading {
            model, done, total, ..
        } => match *total {
            0 => format!("Opening {}…", model.label()),
            total if *done < total => {
                let (now, all) = (text::bytes(*done), text::bytes(total));
                format!("Loading {}: {now} of {all}", model.label())
            }
            _ => format!("Preparing the device for {}…", model.label()),
        },
        Model::Ready(_) if app.running.is_some() && !app.is_answering_here() => {
            "Answering in another chat. Esc stops it.".to_owned()
        }
        Model::Ready(_) if app.running.is_some() => "Esc stops the answer.".to_owned(),
        Model::Ready(_) => "Enter sends, Shift+Enter begins a new line.".to_owned(),
    }
}
