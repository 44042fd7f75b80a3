//! What the window looks like. Each part takes the state and gives back what was clicked.

mod chart;
mod chats;
mod composer;
mod conversation;
mod dialogs;
mod empty;
mod engine;
mod models;
mod notices;
mod routes;
mod settings;
pub(crate) mod theme;
mod top;
mod widgets;

use eframe::egui::{self, Align2, CentralPanel, Frame, Key, Margin, Modifiers, Panel};

use crate::app::{Action, App};
use crate::settings::ModelRef;

/// Draws everything, and does what was asked for.
pub(crate) fn show(app: &mut App, ui: &mut egui::Ui) {
    scale(app, ui.ctx());
    theme::choose(ui.ctx(), app.settings.theme);
    let mut actions = vec![];
    actions.extend(keys(app, ui.ctx()));
    actions.extend(dropped(ui.ctx()));
    let palette = theme::palette(ui.visuals());
    let side = Frame::new()
        .fill(palette.side)
        .inner_margin(Margin::same(12));
    let is_wide = ui.available_width() > 860.0;
    let mut show_chats = app.settings.show_chats && ui.available_width() > 620.0;
    Panel::left("chats")
        .resizable(false)
        .exact_size(230.0)
        .frame(side)
        .show_collapsible(ui, &mut show_chats, |ui| {
            actions.extend(chats::show(app, ui));
        });
    let mut show_engine = app.settings.show_engine && is_wide;
    Panel::right("engine")
        .resizable(false)
        .exact_size(304.0)
        .frame(side)
        .show_collapsible(ui, &mut show_engine, |ui| engine::show(app, ui));
    let ground = Frame::new().fill(palette.ground);
    Panel::top("top")
        .frame(ground.inner_margin(Margin::symmetric(16, 10)))
        .show_separator_line(true)
        .show(ui, |ui| actions.extend(top::show(app, ui)));
    Panel::bottom("composer")
        .frame(ground.inner_margin(Margin::symmetric(0, 12)))
        .show_separator_line(false)
        .show(ui, |ui| {
            actions.extend(notices::show(app, ui));
            actions.extend(composer::show(app, ui));
        });
    CentralPanel::default().frame(ground).show(ui, |ui| {
        let is_empty = app.chat().is_none_or(|chat| chat.messages.is_empty());
        actions.extend(match is_empty {
            true => empty::show(app, ui),
            false => conversation::show(app, ui),
        });
    });
    actions.extend(dialogs::show(app, ui.ctx()));
    hint_drop(ui.ctx());
    for action in actions {
        app.act(action);
    }
}

/// Ctrl and plus, minus or zero scale everything, beside the display's own scale.
fn scale(app: &mut App, ctx: &egui::Context) {
    // The keys change the context's factor, the settings dialog the settings'.
    let id = egui::Id::unique("zoom last set");
    let last: Option<f32> = ctx.data(|data| data.get_temp(id));
    let now = ctx.zoom_factor();
    if last.is_some_and(|last| last != now) {
        app.settings.zoom = now;
    } else if now != app.settings.zoom {
        ctx.set_zoom_factor(app.settings.zoom);
    }
    ctx.data_mut(|data| data.insert_temp(id, app.settings.zoom));
}

/// What keys ask for wherever the focus is.
fn keys(app: &mut App, ctx: &egui::Context) -> Option<Action> {
    let pressed = |modifiers, key| ctx.input_mut(|input| input.consume_key(modifiers, key));
    if pressed(Modifiers::COMMAND, Key::N) {
        return Some(Action::NewChat);
    }
    if pressed(Modifiers::COMMAND, Key::O) {
        return Some(Action::Models);
    }
    if pressed(Modifiers::COMMAND, Key::Comma) {
        return Some(Action::Settings);
    }
    if app.dialog.is_some() {
        // A dialog takes Esc itself.
        return None;
    }
    let is_busy = app.view.editing.is_some() || app.running.is_some();
    if is_busy && pressed(Modifiers::NONE, Key::Escape) {
        if app.view.editing.take().is_some() {
            return None;
        }
        return Some(Action::Stop);
    }
    None
}

/// A folder or a file that was dropped on the window.
fn dropped(ctx: &egui::Context) -> Option<Action> {
    let path = ctx.input(|input| {
        let file = input.raw.dropped_files.first();
        file.map(|file| file.path().to_owned())
    });
    path.map(|path| Action::Consider(ModelRef::Path(path)))
}

/// While something is held over the window.
fn hint_drop(ctx: &egui::Context) {
    if ctx.input(|input| input.raw.hovered_files.is_empty()) {
        return;
    }
    egui::Area::new(egui::Id::unique("drop"))
        .anchor(Align2::CENTER_CENTER, [0.0, 0.0])
        .order(egui::Order::Foreground)
        .show(ctx, |ui| {
            Frame::popup(ui.style()).inner_margin(24).show(ui, |ui| {
                ui.heading("Drop a model folder or a GGUF file");
            });
        });
}
