//! Which model: the default, a recent one, a folder, a file; and what it would need.

use std::path::PathBuf;

use eframe::egui::{Button, Label, RichText, TextEdit, Ui, vec2};

use super::theme::palette;
use super::widgets::{card, fact, primary, quiet, section, weak};
use crate::app::{Action, App};
use crate::engine::Estimate;
use crate::problem::Problem;
use crate::settings::ModelRef;
use crate::text;

/// `path` is what is typed into the field.
pub(super) fn choose(app: &mut App, path: &mut String, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.heading("Choose a model");
    ui.add_space(4.0);
    let current = app.ready().map(|info| info.model.clone());
    let note = "built in, very small";
    if choice(ui, &ModelRef::Default, note, current.as_ref()) {
        action = Some(Action::Load(ModelRef::Default));
    }
    if !app.settings.recent.is_empty() {
        ui.add_space(6.0);
        section(ui, "Recent");
    }
    for path in app.settings.recent.clone() {
        ui.horizontal(|ui| {
            if quiet(ui, "✖", "Forget this model").clicked() {
                app.settings.forget(&path);
            }
            let note = path.parent().map(|folder| folder.display().to_string());
            let model = ModelRef::Path(path.clone());
            if choice(ui, &model, &note.unwrap_or_default(), current.as_ref()) {
                action = Some(Action::Consider(model));
            }
        });
    }
    ui.add_space(6.0);
    section(ui, "On this computer");
    ui.horizontal(|ui| {
        if ui.button("Open a folder…").clicked() {
            action = Some(Action::PickFolder);
        }
        if ui.button("Open a GGUF file…").clicked() {
            action = Some(Action::PickFile);
        }
    });
    ui.horizontal(|ui| {
        let field = TextEdit::singleline(path)
            .hint_text("or its path")
            .desired_width(ui.available_width() - 76.0);
        let is_entered = ui.add(field).lost_focus()
            && ui.input(|input| input.key_pressed(eframe::egui::Key::Enter));
        let is_path = !path.trim().is_empty();
        if (ui.add_enabled(is_path, Button::new("Open")).clicked() || is_entered) && is_path {
            let path = PathBuf::from(path.trim());
            action = Some(Action::Consider(ModelRef::Path(path)));
        }
    });
    weak(
        ui,
        "A folder with config.json and safetensors, or a .gguf file. It can also be dropped on the window.",
    );
    action
}

/// A line that opens a model.
fn choice(ui: &mut Ui, model: &ModelRef, note: &str, current: Option<&ModelRef>) -> bool {
    let is_current = current == Some(model);
    let mark = if is_current { "✔ " } else { "" };
    let text = RichText::new(format!("{mark}{}", model.label()));
    let button = Button::selectable(is_current, text)
        .right_text(RichText::new(note).small().weak())
        .truncate()
        .min_size(vec2(ui.available_width(), 32.0));
    ui.add(button).clicked()
}

/// Before a model is loaded: what it is and what it takes.
pub(super) fn confirm(app: &App, model: &ModelRef, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.heading(model.label());
    if let ModelRef::Path(path) = model {
        let path = path.display().to_string();
        ui.add(Label::new(RichText::new(path).small().weak()).truncate());
    }
    ui.add_space(6.0);
    let can_load = match &app.estimate {
        None => {
            weak(ui, "Reading its headers…");
            false
        }
        Some(Err(problem)) => {
            failed(ui, problem);
            false
        }
        Some(Ok(estimate)) => {
            facts(ui, estimate);
            true
        }
    };
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        if can_load && primary(ui, "Load").clicked() {
            action = Some(Action::Load(model.clone()));
        }
        if ui.button("Choose another").clicked() {
            action = Some(Action::Models);
        }
        if ui.button("Cancel").clicked() {
            action = Some(Action::CloseDialog);
        }
    });
    action
}

fn facts(ui: &mut Ui, estimate: &Estimate) {
    fact(ui, "Architecture", estimate.architecture);
    fact(ui, "Parameters", &text::count(estimate.n_params));
    fact(ui, "Layers", &estimate.n_layers.to_string());
    let (n_ctx, most) = (estimate.n_ctx, estimate.model_ctx);
    fact(ui, "Context", &format!("{n_ctx} of at most {most} tokens"));
    let routers = if estimate.has_routers { "yes" } else { "no" };
    fact(ui, "Routers", routers);
    ui.add_space(4.0);
    section(ui, "Memory");
    memory(ui, estimate);
    if !estimate.has_template {
        ui.add_space(4.0);
        weak(
            ui,
            "It brings no chat template, so it may not have been trained to talk.",
        );
    }
}

/// What a model takes, and whether it fits.
pub(super) fn memory(ui: &mut Ui, estimate: &Estimate) {
    let needed = &estimate.footprint;
    fact(ui, "Weights", &text::bytes(needed.weights));
    fact(ui, "Cache", &text::bytes(needed.cache));
    fact(ui, "Work space", &text::bytes(needed.activations));
    fact(ui, "Together", &text::bytes(needed.total()));
    if let Some(free) = estimate.free {
        fact(ui, "Free on this computer", &text::bytes(free));
    }
    if estimate.is_too_large() {
        let color = palette(ui.visuals()).error;
        let message =
            "This does not fit. Settings has a smaller context, the q8 or q4 cache and q4 weights.";
        ui.label(RichText::new(message).color(color));
    }
}

pub(super) fn failed(ui: &mut Ui, problem: &Problem) {
    let p = palette(ui.visuals());
    card(ui, p.error_card).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&problem.title).color(p.error).strong());
        for text in [problem.detail.as_str(), problem.remedy] {
            if !text.is_empty() {
                ui.add(Label::new(RichText::new(text).size(13.5)).wrap());
            }
        }
    });
}
