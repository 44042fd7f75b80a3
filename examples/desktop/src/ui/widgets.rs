//! Small parts that several places use.

use eframe::egui::{self, Button, Color32, CornerRadius, Response, RichText, Stroke, Ui, vec2};

use super::theme::{COLUMN, ROUND, palette};

/// A button without a frame: an icon, or an icon and a word.
pub(crate) fn quiet(ui: &mut Ui, text: &str, hint: &str) -> Response {
    let weak = palette(ui.visuals()).weak;
    let button = Button::new(RichText::new(text).color(weak)).frame_when_inactive(false);
    named(ui.add(button), hint)
}

/// The button that one would press.
pub(crate) fn primary(ui: &mut Ui, text: &str) -> Response {
    let p = palette(ui.visuals());
    ui.add(Button::new(RichText::new(text).color(p.on_accent)).fill(p.accent))
}

/// What a symbol means, for the pointer and for screen readers.
pub(crate) fn named(response: Response, name: &str) -> Response {
    let is_enabled = response.enabled();
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, is_enabled, name));
    response.on_hover_text(name)
}

pub(crate) fn weak(ui: &mut Ui, text: impl Into<String>) -> Response {
    let color = palette(ui.visuals()).weak;
    ui.label(RichText::new(text).color(color).small())
}

/// The title of a part of a panel.
pub(crate) fn section(ui: &mut Ui, title: &str) {
    let p = palette(ui.visuals());
    ui.label(RichText::new(title).size(13.5).color(p.strong));
}

/// A rounded ground for what belongs together.
pub(crate) fn card(ui: &Ui, fill: Color32) -> egui::Frame {
    let border = palette(ui.visuals()).border;
    egui::Frame::new()
        .fill(fill)
        .stroke(Stroke::new(1.0, border))
        .corner_radius(ROUND)
        .inner_margin(egui::Margin::symmetric(14, 10))
}

/// A line with a name on the left and a value on the right.
pub(crate) fn fact(ui: &mut Ui, name: &str, value: &str) {
    ui.scope(|ui| {
        // Lines of text, not of buttons.
        ui.spacing_mut().interact_size.y = 16.0;
        ui.horizontal(|ui| {
            weak(ui, name);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.add(egui::Label::new(RichText::new(value).small()).truncate());
            });
        });
    });
}

/// A bar of parts of a whole, in their colours; what is left over stays empty.
pub(crate) fn bar(ui: &mut Ui, parts: &[(f32, Color32)]) -> Response {
    let p = palette(ui.visuals());
    let size = vec2(ui.available_width(), 8.0);
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    let painter = ui.painter();
    let round = CornerRadius::same(4);
    painter.rect_filled(rect, round, p.border);
    let mut left = rect.left();
    for &(part, color) in parts {
        let width = rect.width() * part.clamp(0.0, 1.0);
        // A sliver could not be seen.
        if width < 0.5 {
            continue;
        }
        let width = width.max(3.0).min(rect.right() - left);
        let filled = egui::Rect::from_min_size(egui::pos2(left, rect.top()), vec2(width, 8.0));
        painter.rect_filled(filled, round, color);
        left += width;
    }
    response
}

/// A column in the middle, no wider than lines can be read.
pub(crate) fn column<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> R {
    let whole = ui.available_rect_before_wrap();
    let width = (whole.width() - 32.0).min(COLUMN);
    let left = whole.center().x - width / 2.0;
    let rect = egui::Rect::from_x_y_ranges(left..=left + width, whole.y_range());
    let layout = egui::Layout::top_down(egui::Align::Min);
    let builder = egui::UiBuilder::new().max_rect(rect).layout(layout);
    ui.scope_builder(builder, add).inner
}

/// A field of several lines where Enter does something and Shift-Enter makes a line; whether Enter
/// was pressed.
pub(crate) fn lines(ui: &mut Ui, id: egui::Id, text: &mut String, hint: &str) -> (Response, bool) {
    let has_focus = ui.memory(|memory| memory.has_focus(id));
    let is_entered = has_focus
        && ui.input_mut(|input| {
            !input.modifiers.shift && input.consume_key(egui::Modifiers::NONE, egui::Key::Enter)
        });
    let new_line = egui::KeyboardShortcut::new(egui::Modifiers::SHIFT, egui::Key::Enter);
    let field = egui::TextEdit::multiline(text)
        .id(id)
        .hint_text(hint.to_owned())
        .return_key(new_line)
        .desired_rows(1)
        .desired_width(f32::INFINITY)
        .frame(egui::Frame::NONE);
    (ui.add(field), is_entered)
}
