//! Colours, type sizes and spacing, light and dark.

use eframe::egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Margin, Stroke, Style, TextStyle, Theme,
    ThemePreference, Visuals, vec2,
};

use crate::settings;

/// What egui's own visuals have no name for.
#[derive(Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) text: Color32,
    /// In the place of bold type, which the fonts lack.
    pub(crate) strong: Color32,
    pub(crate) weak: Color32,
    pub(crate) border: Color32,
    /// Of the side panels.
    pub(crate) side: Color32,
    /// Behind the conversation.
    pub(crate) ground: Color32,
    /// Of questions, fields and cards.
    pub(crate) card: Color32,
    pub(crate) accent: Color32,
    pub(crate) on_accent: Color32,
    pub(crate) error: Color32,
    pub(crate) error_card: Color32,
    /// Of the branches, as `deputy routes --svg` draws them.
    pub(crate) full: Color32,
    pub(crate) low: Color32,
    pub(crate) skipped: Color32,
}

const LIGHT: Palette = Palette {
    text: Color32::from_rgb(0x33, 0x39, 0x41),
    strong: Color32::BLACK,
    weak: Color32::from_rgb(0x5f, 0x67, 0x73),
    border: Color32::from_rgb(0xd9, 0xdd, 0xe3),
    side: Color32::from_rgb(0xf4, 0xf5, 0xf7),
    ground: Color32::from_rgb(0xff, 0xff, 0xff),
    card: Color32::from_rgb(0xee, 0xf1, 0xf5),
    accent: Color32::from_rgb(0x1f, 0x66, 0xb3),
    on_accent: Color32::WHITE,
    error: Color32::from_rgb(0xb3, 0x26, 0x1e),
    error_card: Color32::from_rgb(0xfc, 0xee, 0xed),
    full: Color32::from_rgb(0x2f, 0x78, 0xc4),
    low: Color32::from_rgb(0xf0, 0xa0, 0x30),
    skipped: Color32::from_rgb(0x8a, 0x8a, 0x8a),
};

const DARK: Palette = Palette {
    text: Color32::from_rgb(0xcb, 0xd1, 0xd8),
    strong: Color32::WHITE,
    weak: Color32::from_rgb(0x9d, 0xa6, 0xb2),
    border: Color32::from_rgb(0x36, 0x3c, 0x45),
    side: Color32::from_rgb(0x1b, 0x1e, 0x23),
    ground: Color32::from_rgb(0x15, 0x17, 0x1b),
    card: Color32::from_rgb(0x26, 0x2b, 0x32),
    accent: Color32::from_rgb(0x3b, 0x82, 0xcf),
    on_accent: Color32::WHITE,
    error: Color32::from_rgb(0xff, 0x9a, 0x90),
    error_card: Color32::from_rgb(0x3a, 0x20, 0x1f),
    full: Color32::from_rgb(0x4a, 0x8f, 0xd8),
    low: Color32::from_rgb(0xf0, 0xa0, 0x30),
    skipped: Color32::from_rgb(0x8a, 0x8a, 0x8a),
};

/// Of the style that is in use.
pub(crate) fn palette(visuals: &Visuals) -> Palette {
    if visuals.dark_mode { DARK } else { LIGHT }
}

/// Widest line of a conversation, in points: about 80 letters.
pub(crate) const COLUMN: f32 = 720.0;

/// Corners of cards and fields.
pub(crate) const ROUND: u8 = 10;

/// Sets both styles up.
pub(crate) fn install(ctx: &Context) {
    ctx.style_mut_of(Theme::Light, |style| restyle(style, &LIGHT));
    ctx.style_mut_of(Theme::Dark, |style| restyle(style, &DARK));
}

/// Light or dark, and the size of everything.
pub(crate) fn choose(ctx: &Context, theme: settings::Theme) {
    ctx.set_theme(match theme {
        settings::Theme::System => ThemePreference::System,
        settings::Theme::Light => ThemePreference::Light,
        settings::Theme::Dark => ThemePreference::Dark,
    });
}

fn restyle(style: &mut Style, p: &Palette) {
    let font = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = [
        (TextStyle::Small, font(12.5)),
        (TextStyle::Body, font(15.0)),
        (TextStyle::Button, font(14.0)),
        (TextStyle::Heading, font(21.0)),
        (
            TextStyle::Monospace,
            FontId::new(13.5, FontFamily::Monospace),
        ),
    ]
    .into();
    style.spacing.item_spacing = vec2(8.0, 7.0);
    style.spacing.button_padding = vec2(10.0, 5.0);
    style.spacing.interact_size.y = 28.0;
    style.spacing.window_margin = Margin::same(20);
    style.spacing.menu_margin = Margin::same(8);
    style.spacing.combo_width = 170.0;
    style.spacing.slider_width = 170.0;
    style.spacing.extra_text_line_spacing = 3.0;
    let visuals = &mut style.visuals;
    visuals.weak_text_color = Some(p.weak);
    visuals.hyperlink_color = p.accent;
    visuals.panel_fill = p.ground;
    visuals.window_fill = p.ground;
    visuals.window_stroke = Stroke::new(1.0, p.border);
    visuals.window_corner_radius = CornerRadius::same(12);
    visuals.menu_corner_radius = CornerRadius::same(8);
    visuals.extreme_bg_color = p.card;
    visuals.text_edit_bg_color = Some(p.card);
    visuals.code_bg_color = p.card;
    visuals.faint_bg_color = p.side;
    visuals.error_fg_color = p.error;
    visuals.selection.bg_fill = p.accent.gamma_multiply(0.25);
    visuals.selection.stroke = Stroke::new(1.0, p.text);
    visuals.slider_trailing_fill = true;
    let widgets = &mut visuals.widgets;
    for (widget, fill, border) in [
        (&mut widgets.noninteractive, p.ground, p.border),
        (&mut widgets.inactive, p.card, p.border),
        (&mut widgets.hovered, mix(p.card, p.accent, 0.18), p.accent),
        (&mut widgets.active, mix(p.card, p.accent, 0.32), p.accent),
        (&mut widgets.open, mix(p.card, p.accent, 0.18), p.border),
    ] {
        widget.bg_fill = fill;
        widget.weak_bg_fill = fill;
        widget.bg_stroke = Stroke::new(1.0, border);
        widget.fg_stroke = Stroke::new(1.0, p.text);
        widget.corner_radius = CornerRadius::same(7);
        widget.expansion = 0.0;
    }
    // egui's strong text is in the colour of an active widget.
    widgets.active.fg_stroke.color = p.strong;
}

/// `part` of `b` in `a`.
fn mix(a: Color32, b: Color32, part: f32) -> Color32 {
    a.lerp_to_gamma(b, part)
}
