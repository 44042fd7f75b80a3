//! Tokens a second over the time of an answer.

use eframe::egui::{Align2, FontId, Mesh, Pos2, Rect, Sense, Shape, Stroke, Ui, pos2, remap, vec2};

use super::theme::palette;
use crate::speed::Speed;
use crate::text;

const HEIGHT: f32 = 96.0;
/// Of the numbers below and above the lines.
const LETTERS: f32 = 11.0;

pub(super) fn show(ui: &mut Ui, speed: &Speed) {
    let p = palette(ui.visuals());
    let size = vec2(ui.available_width(), HEIGHT);
    let (whole, response) = ui.allocate_exact_size(size, Sense::hover());
    let points = speed.points();
    let painter = ui.painter();
    let font = FontId::proportional(LETTERS);
    let rect = Rect::from_min_max(
        whole.min + vec2(0.0, LETTERS + 3.0),
        whole.max - vec2(0.0, LETTERS + 4.0),
    );
    let base = |x| pos2(x, rect.bottom());
    let line = Stroke::new(1.0, p.border);
    painter.hline(rect.x_range(), rect.bottom(), line);
    let Some(&[end, _]) = points.last() else {
        return;
    };
    let start = points[0][0];
    let most = points.iter().map(|point| point[1]).fold(0.0, f64::max);
    let top = round_up(most);
    painter.hline(rect.x_range(), rect.top(), line);
    painter.text(
        whole.left_top(),
        Align2::LEFT_TOP,
        format!("{} tokens/s", text::rate(top)),
        font.clone(),
        p.weak,
    );
    let below = |x, align, seconds: f64| {
        painter.text(
            pos2(x, whole.bottom()),
            align,
            format!("{seconds:.1} s"),
            font.clone(),
            p.weak,
        );
    };
    below(rect.left(), Align2::LEFT_BOTTOM, start);
    below(rect.right(), Align2::RIGHT_BOTTOM, end);
    let width = (end - start).max(1e-6);
    let at = |&[x, y]: &[f64; 2]| -> Pos2 {
        let across = ((x - start) / width) as f32;
        let up = (y / top) as f32;
        pos2(
            remap(across, 0.0..=1.0, rect.x_range()),
            remap(up, 0.0..=1.0, rect.bottom()..=rect.top()),
        )
    };
    let line: Vec<Pos2> = points.iter().map(at).collect();
    let mut filled = Mesh::default();
    for (i, &point) in line.iter().enumerate() {
        filled.colored_vertex(point, p.accent.gamma_multiply(0.25));
        filled.colored_vertex(base(point.x), p.accent.gamma_multiply(0.05));
        if i > 0 {
            let n = 2 * i as u32;
            filled.add_triangle(n - 2, n - 1, n);
            filled.add_triangle(n - 1, n, n + 1);
        }
    }
    painter.add(Shape::mesh(filled));
    painter.line(line.clone(), Stroke::new(1.6, p.accent));
    let Some(pointer) = response.hover_pos() else {
        return;
    };
    let distance = |i: &usize| (line[*i].x - pointer.x).abs();
    let nearest = (0..line.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    if let Some(i) = nearest {
        painter.circle_filled(line[i], 3.5, p.accent);
        let [seconds, rate] = points[i];
        let rate = text::rate(rate);
        response.on_hover_text_at_pointer(format!("{rate} tokens a second after {seconds:.1} s"));
    }
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|&step| step >= value)
        .unwrap_or(10.0 * power)
}
