//! The way of each token through the layers: a line a token, two cells a layer, its attention and
//! then its FFN.

use deputy::{Branch, LayerBranches};
use eframe::egui::{
    Align2, Color32, FontId, Rect, ScrollArea, Sense, Stroke, StrokeKind, Ui, pos2, vec2,
};

use super::theme::{Palette, palette};
use super::widgets::{fact, weak};
use crate::engine::Path;

/// Height of a token's line.
const LINE: f32 = 17.0;
/// Lines that are in sight at a time.
const LINES: f32 = 16.0;
/// Where the cells begin, behind the token's text.
const TEXT: f32 = 84.0;
/// Room for the scroll bar.
const BAR: f32 = 12.0;

pub(super) fn show(ui: &mut Ui, path: &Path, whole: &mut bool) {
    legend(ui);
    let from = if *whole { 0 } else { path.answer_at };
    let n = path.tokens.len().saturating_sub(from);
    if n == 0 {
        weak(ui, "The answer has no tokens.");
    } else {
        let cells = Cells::new(ui.available_width() - TEXT - BAR, path.layers.len());
        head(ui, &cells);
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical()
            .id_salt("routes")
            .max_height(LINES * LINE)
            .auto_shrink([false, true])
            .show_rows(ui, LINE, n, |ui, lines| {
                for line in lines {
                    token(ui, path, from + line, &cells);
                }
            });
        ui.spacing_mut().item_spacing.y = 5.0;
    }
    ui.add_space(2.0);
    ui.checkbox(whole, "With the prompt");
    let percent = 100.0 * path.compute;
    fact(ui, "Layers' work that ran", &format!("{percent:.0} %"));
}

/// Where the cells of a line are, from its first one's left.
struct Cells {
    n_layers: usize,
    /// From a layer to the next.
    across: f32,
    width: f32,
}

impl Cells {
    fn new(room: f32, n_layers: usize) -> Self {
        let across = (room / n_layers.max(1) as f32).min(32.0);
        // The gap between layers is what tells them apart.
        let gap = (across * 0.22).clamp(0.5, 5.0);
        Self {
            n_layers,
            across,
            width: (across - gap) / 2.0,
        }
    }

    /// Attention and FFN.
    fn of(&self, layer: usize, origin: eframe::egui::Pos2) -> [Rect; 2] {
        let cell = |i: usize| {
            let left = origin.x + layer as f32 * self.across + i as f32 * self.width;
            let size = vec2((self.width - 1.0).max(0.8), LINE - 4.0);
            Rect::from_min_size(pos2(left, origin.y + 2.0), size)
        };
        [cell(0), cell(1)]
    }

    fn layer_at(&self, x: f32) -> Option<usize> {
        let layer = (x / self.across).floor();
        (layer >= 0.0 && (layer as usize) < self.n_layers).then_some(layer as usize)
    }
}

fn legend(ui: &mut Ui) {
    let p = palette(ui.visuals());
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 5.0;
        for (branch, name) in [
            (Branch::Full, "full"),
            (Branch::Low, "low-rank"),
            (Branch::Skipped, "skipped"),
        ] {
            let (rect, _) = ui.allocate_exact_size(vec2(11.0, 11.0), Sense::hover());
            draw(ui, rect, branch, &p);
            weak(ui, name);
            ui.add_space(6.0);
        }
    });
    weak(ui, "A line a token; of each layer attention, then FFN.");
}

/// The numbers of the layers, as many as there is room for.
fn head(ui: &mut Ui, cells: &Cells) {
    let p = palette(ui.visuals());
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 13.0), Sense::hover());
    let step = (20.0 / cells.across).ceil().max(1.0) as usize;
    for layer in (0..cells.n_layers).step_by(step) {
        let x = rect.left() + TEXT + layer as f32 * cells.across + cells.width;
        let at = pos2(x - 0.5, rect.bottom());
        let font = FontId::proportional(10.5);
        ui.painter()
            .text(at, Align2::CENTER_BOTTOM, layer, font, p.weak);
    }
}

fn token(ui: &mut Ui, path: &Path, at: usize, cells: &Cells) {
    let p = palette(ui.visuals());
    let size = vec2(ui.available_width(), LINE);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let text = path.tokens[at].as_str();
    let color = if at < path.answer_at { p.weak } else { p.text };
    let text_rect = Rect::from_min_size(rect.min, vec2(TEXT - 6.0, LINE));
    ui.painter().with_clip_rect(text_rect).text(
        text_rect.left_center(),
        Align2::LEFT_CENTER,
        visible(text),
        FontId::monospace(11.5),
        color,
    );
    let origin = pos2(rect.left() + TEXT, rect.top());
    for layer in 0..cells.n_layers {
        let taken = branches(path, layer, at);
        let [attention, ffn] = cells.of(layer, origin);
        draw(ui, attention, taken.attention, &p);
        draw(ui, ffn, taken.ffn, &p);
    }
    let Some(pointer) = response.hover_pos() else {
        return;
    };
    ui.painter()
        .rect_stroke(rect, 3.0, Stroke::new(1.0, p.border), StrokeKind::Inside);
    let Some(layer) = cells.layer_at(pointer.x - origin.x) else {
        response.on_hover_text_at_pointer(format!("Token {at}: {text:?}"));
        return;
    };
    let taken = branches(path, layer, at);
    let has_router = path.layers[layer].get(at).is_some();
    let note = if has_router { "" } else { " (no router)" };
    response.on_hover_text_at_pointer(format!(
        "Token {at}: {text:?}\nLayer {layer}{note}: attention {}, FFN {}",
        name(taken.attention),
        name(taken.ffn)
    ));
}

/// Full where a layer has no router.
fn branches(path: &Path, layer: usize, at: usize) -> LayerBranches {
    path.layers[layer].get(at).copied().unwrap_or_default()
}

fn name(branch: Branch) -> &'static str {
    match branch {
        Branch::Full => "full",
        Branch::Low => "low-rank",
        Branch::Skipped => "skipped",
    }
}

fn draw(ui: &Ui, rect: Rect, branch: Branch, p: &Palette) {
    let fill: Color32 = match branch {
        Branch::Full => p.full,
        Branch::Low => p.low,
        Branch::Skipped => {
            let stroke = Stroke::new(1.0, p.skipped);
            ui.painter()
                .rect_stroke(rect, 1.0, stroke, StrokeKind::Inside);
            return;
        }
    };
    ui.painter().rect_filled(rect, 1.0, fill);
}

/// Spaces and line ends as signs.
fn visible(text: &str) -> String {
    let sign = |c| match c {
        ' ' => '·',
        '\n' => '¶',
        c if char::is_control(c) => '·',
        c => c,
    };
    text.chars().map(sign).collect()
}
