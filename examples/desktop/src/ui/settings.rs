//! Settings. They take effect as they are changed; those of the device when the model is loaded
//! again.

use eframe::egui::{ComboBox, DragValue, Grid, Key, RichText, ScrollArea, Slider, TextEdit, Ui};

use super::models;
use super::widgets::{primary, section, weak};
use crate::app::{Action, App};
use crate::settings::{AUTO, AnswerSettings, CPU, Cache, Latents, LoadSettings, Theme, Weights};

pub(super) fn show(app: &mut App, ui: &mut Ui) -> Option<Action> {
    let mut action = None;
    ui.heading("Settings");
    ui.add_space(4.0);
    let height = (ui.ctx().content_rect().height() - 190.0).max(160.0);
    ScrollArea::vertical()
        .max_height(height)
        // At once; by itself a dialog grows from frame to frame.
        .min_scrolled_height(height)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            // Beside the scroll bar.
            ui.set_max_width(ui.available_width() - 14.0);
            section(ui, "Answers");
            let ready = app.ready().cloned();
            let model = ready.as_ref().map(|info| (info.sampler, info.effort));
            answers(ui, &mut app.settings.answer, model);
            part(ui, "Model and device");
            let before = app.settings.load.clone();
            let most = ready.as_ref().map(|info| info.model_ctx);
            loading(ui, &mut app.settings.load, &app.devices, most);
            if app.settings.load != before {
                app.estimate_current();
            }
            match &app.estimate {
                Some(Ok(estimate)) => models::memory(ui, estimate),
                Some(Err(problem)) => models::failed(ui, problem),
                None => {
                    weak(ui, "Reading the model's headers…");
                }
            }
            let is_new = ready.is_none_or(|info| info.settings != app.settings.load);
            if is_new {
                ui.add_space(4.0);
                ui.horizontal(|ui| {
                    if primary(ui, "Load the model again").clicked() {
                        action = Some(Action::Load(app.settings.model.clone()));
                    }
                    weak(ui, "These take effect then.");
                });
            }
            part(ui, "Window");
            window(ui, app);
        });
    ui.add_space(8.0);
    if ui.button("Close").clicked() {
        action = Some(Action::CloseDialog);
    }
    action
}

fn part(ui: &mut Ui, title: &str) {
    ui.add_space(8.0);
    ui.separator();
    ui.add_space(2.0);
    section(ui, title);
}

/// Names on the left, what is chosen on the right.
fn table(ui: &mut Ui, name: &str, rows: impl FnOnce(&mut Ui)) {
    Grid::new(name)
        .num_columns(2)
        .min_col_width(150.0)
        .spacing([16.0, 8.0])
        .show(ui, rows);
}

fn answers(
    ui: &mut Ui,
    answer: &mut AnswerSettings,
    model: Option<(deputy::sampler::SamplerParams, Option<f32>)>,
) {
    weak(
        ui,
        "System prompt: what the model is told before the conversation",
    );
    ui.add(
        TextEdit::multiline(&mut answer.system)
            .hint_text("none")
            .desired_rows(2)
            .desired_width(f32::INFINITY),
    );
    ui.add_space(4.0);
    let (sampler, effort) = model.unzip();
    table(ui, "answers", |ui| {
        ui.label("Effort");
        match effort.flatten() {
            Some(own) => effort_row(ui, &mut answer.effort, own),
            None => {
                weak(ui, "This model has no routers.");
            }
        }
        ui.end_row();
        ui.label("Seed");
        ui.horizontal(|ui| {
            let mut is_chosen = answer.seed.is_some();
            ui.checkbox(&mut is_chosen, "chosen");
            let seed = answer.seed.get_or_insert(0);
            ui.add_enabled(is_chosen, DragValue::new(seed));
            if !is_chosen {
                answer.seed = None;
                weak(ui, "from the clock");
            } else {
                weak(ui, "Retry takes the next one");
            }
        });
        ui.end_row();
        ui.label("Sampling");
        let mut is_own = answer.sampling.is_none();
        ui.checkbox(&mut is_own, "as the model says");
        ui.end_row();
        if is_own {
            answer.sampling = None;
            return;
        }
        let own = sampler.unwrap_or_default();
        let sampling = answer.sampling.get_or_insert_with(|| own.into());
        let mut part = |name: &str, value: &mut f32, most: f32| {
            ui.label(name);
            ui.add(Slider::new(value, 0.0..=most).fixed_decimals(2));
            ui.end_row();
        };
        part("Temperature", &mut sampling.temperature, 2.0);
        part("Top p", &mut sampling.top_p, 1.0);
        part("Min p", &mut sampling.min_p, 1.0);
        ui.label("Top k");
        ui.horizontal(|ui| {
            ui.add(DragValue::new(&mut sampling.top_k).range(0..=1000));
            weak(ui, "0 is all");
        });
        ui.end_row();
        ui.label("Repeat penalty");
        ui.add(Slider::new(&mut sampling.repeat_penalty, 1.0..=2.0).fixed_decimals(2));
        ui.end_row();
    });
}

fn effort_row(ui: &mut Ui, effort: &mut Option<f32>, own: f32) {
    let mut is_own = effort.is_none();
    ui.checkbox(&mut is_own, format!("as the model says, {own:.2}"));
    if is_own {
        *effort = None;
        return;
    }
    ui.end_row();
    ui.label("");
    let effort = effort.get_or_insert(own);
    ui.add(Slider::new(effort, 0.0..=1.0).fixed_decimals(2));
}

fn loading(ui: &mut Ui, load: &mut LoadSettings, devices: &[String], most: Option<u32>) {
    table(ui, "loading", |ui| {
        ui.label("Device");
        let name = |device: &str| match device {
            AUTO => "A GPU, else the CPU".to_owned(),
            CPU => "CPU".to_owned(),
            name => name.to_owned(),
        };
        ComboBox::from_id_salt("device")
            .width(280.0)
            .truncate()
            .selected_text(name(&load.device))
            .show_ui(ui, |ui| {
                let fixed = [AUTO, CPU].into_iter();
                for device in fixed.chain(devices.iter().map(String::as_str)) {
                    let value = device.to_owned();
                    ui.selectable_value(&mut load.device, value, name(device));
                }
            });
        ui.end_row();
        choice(
            ui,
            "Weights",
            &mut load.weights,
            Weights::ALL,
            Weights::label,
        );
        choice(
            ui,
            "Cache format",
            &mut load.cache,
            Cache::ALL,
            Cache::label,
        );
        choice(
            ui,
            "Low-rank tokens in it",
            &mut load.latents,
            Latents::ALL,
            Latents::label,
        );
        ui.label("Context");
        ui.horizontal(|ui| {
            let mut is_own = load.n_ctx.is_none();
            ui.checkbox(&mut is_own, "as the model says");
            if is_own {
                load.n_ctx = None;
            } else {
                let own = most.unwrap_or(deputy::DEFAULT_CTX);
                let n_ctx = load.n_ctx.get_or_insert(own.min(deputy::DEFAULT_CTX));
                let range = 16..=own.max(16);
                ui.add(
                    DragValue::new(n_ctx)
                        .range(range)
                        .speed(16)
                        .suffix(" tokens"),
                );
            }
        });
        ui.end_row();
    });
}

fn choice<T: Copy + PartialEq>(
    ui: &mut Ui,
    name: &str,
    value: &mut T,
    all: &[T],
    label: fn(T) -> &'static str,
) {
    ui.label(name);
    ComboBox::from_id_salt(name)
        .selected_text(label(*value))
        .show_ui(ui, |ui| {
            for &other in all {
                ui.selectable_value(value, other, label(other));
            }
        });
    ui.end_row();
}

fn window(ui: &mut Ui, app: &mut App) {
    table(ui, "window", |ui| {
        let theme = &mut app.settings.theme;
        choice(ui, "Colours", theme, Theme::ALL, Theme::label);
        ui.label("Size");
        ui.horizontal(|ui| {
            for (percent, zoom) in [(90, 0.9), (100, 1.0), (125, 1.25), (150, 1.5)] {
                let text = RichText::new(format!("{percent} %"));
                ui.selectable_value(&mut app.settings.zoom, zoom, text);
            }
        });
        ui.end_row();
    });
    ui.add_space(4.0);
    let key = |key| super::chats::shortcut(ui, key);
    let keys = format!(
        "{} begins a new chat, {} opens a model, {} these settings; Esc stops an answer.",
        key(Key::N),
        key(Key::O),
        key(Key::Comma)
    );
    weak(ui, keys);
}
