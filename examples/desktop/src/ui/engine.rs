//! The panel on the right: what the engine does.

use eframe::egui::{RichText, ScrollArea, Ui};

use super::theme::palette;
use super::widgets::{bar, fact, section, weak};
use super::{chart, routes};
use crate::app::{App, LastAnswer};
use crate::engine::{ModelInfo, Report};
use crate::text;

pub(super) fn show(app: &mut App, ui: &mut Ui) {
    let n_ctx = app.ready().map(|info| info.n_ctx);
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 5.0;
            // Beside the scroll bar.
            ui.set_max_width(ui.available_width() - 8.0);
            speed(app.last.as_ref(), ui);
            gap(ui);
            context(app.last.as_ref(), n_ctx, ui);
            gap(ui);
            let report = app.last.as_ref().and_then(|last| last.report.as_deref());
            cache(report, ui);
            gap(ui);
            section(ui, "Routes of the last answer");
            match report {
                Some(Report {
                    path: Some(path), ..
                }) => routes::show(ui, path, &mut app.view.whole_path),
                Some(_) => {
                    weak(ui, "This model has no routers: every token takes every layer.");
                }
                None => {
                    weak(ui, "Which way each token took through the layers is drawn here once it is answered.");
                }
            }
            gap(ui);
            if let Some(info) = app.ready() {
                device(info, ui);
            }
        });
}

fn gap(ui: &mut Ui) {
    ui.add_space(6.0);
    ui.separator();
    ui.add_space(2.0);
}

fn speed(last: Option<&LastAnswer>, ui: &mut Ui) {
    section(ui, "Speed");
    let Some(last) = last else {
        weak(
            ui,
            "Tokens a second are drawn here while an answer is written.",
        );
        return;
    };
    let report = last.report.as_deref();
    let decode = report.map_or_else(|| last.speed.mean(), |r| Some(r.decode_tps));
    let p = palette(ui.visuals());
    ui.horizontal(|ui| {
        let number = decode.filter(|&rate| rate > 0.0);
        let number = number.map_or_else(|| "–".to_owned(), text::rate);
        ui.label(RichText::new(number).size(26.0).color(p.text));
        weak(ui, "tokens a second");
    });
    chart::show(ui, &last.speed);
    let first = report.map_or_else(|| last.speed.first_token(), |r| Some(r.first_token));
    let first = first.map_or_else(|| "–".to_owned(), text::duration);
    fact(ui, "Time to first token", &first);
    if let Some(r) = report {
        let read = r.n_prompt - r.n_reused;
        let rate = text::rate(r.prefill_tps);
        fact(
            ui,
            "Prompt",
            &format!("{} read, {rate} a second", text::number(read, "token")),
        );
        fact(
            ui,
            "Reused from the cache",
            &text::number(r.n_reused, "token"),
        );
    }
}

fn context(last: Option<&LastAnswer>, n_ctx: Option<u32>, ui: &mut Ui) {
    section(ui, "Context");
    let Some(n_ctx) = n_ctx else {
        weak(ui, "Known once a model is loaded.");
        return;
    };
    let used = last.map_or(0, |last| last.n_prompt.unwrap_or(0) + last.speed.n_tokens());
    let p = palette(ui.visuals());
    bar(ui, &[(used as f32 / n_ctx as f32, p.accent)]);
    fact(ui, "Tokens used", &format!("{used} of {n_ctx}"));
}

fn cache(report: Option<&Report>, ui: &mut Ui) {
    section(ui, "Cache");
    let Some(Report { cache, .. }) = report else {
        weak(ui, "What the answer's tokens take, once it is finished.");
        return;
    };
    let p = palette(ui.visuals());
    let dense = cache.bytes - cache.latent_bytes;
    let of = |n: u64| n as f32 / cache.dense_bytes.max(1) as f32;
    bar(ui, &[(of(dense), p.full), (of(cache.latent_bytes), p.low)]);
    fact(ui, "Dense", &text::bytes(dense));
    fact(ui, "Latent", &text::bytes(cache.latent_bytes));
    fact(ui, "If all were dense", &text::bytes(cache.dense_bytes));
}

fn device(info: &ModelInfo, ui: &mut Ui) {
    section(ui, "Model and device");
    fact(ui, "Model", &info.model.label());
    fact(ui, "Device", &info.device);
    fact(ui, "Weights", &text::bytes(info.footprint.weights));
    fact(ui, "Room for the cache", &text::bytes(info.footprint.cache));
    fact(ui, "Work space", &text::bytes(info.footprint.activations));
    if let Some(reason) = &info.fallback {
        // The engine's words name an option of the command line behind the semicolon.
        let reason = reason.split(';').next().unwrap_or_default();
        weak(
            ui,
            format!("On the CPU: {reason}. Settings has other devices."),
        );
    }
}
