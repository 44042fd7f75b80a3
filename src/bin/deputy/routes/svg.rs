//! The paths of tokens as a picture: tokens across, layers down, the attention of a layer above its FFN.

use std::fmt::Write;

use deputy::Branch;

use super::Token;

/// A cell, and the distance from a token to the next.
const CELL: [usize; 2] = [12, 8];
const ACROSS: usize = 14;
/// The two cells of a layer, and from a layer to the next.
const FFN: usize = 9;
const DOWN: usize = 21;
/// Of the first cell.
const LEFT: usize = 40;
const TOP: usize = 36;
/// Of a letter in the fixed-width font, about, and of a token's text at most.
const LETTER: f64 = 6.7;
const MOST_LETTERS: usize = 24;

/// Readable without a background of its own: the grey of the texts has a contrast of 4.5 against white and against
/// black, and the colours differ in lightness too.
const STYLE: &str = "\
text{font:11px ui-monospace,Menlo,Consolas,monospace;fill:#767676}
.full{fill:#2f78c4}.low{fill:#f0a030}.skipped{fill:none;stroke:#8a8a8a}";

/// The class, its legend.
const BRANCHES: [(Branch, &str, &str); 3] = [
    (Branch::Full, "full", "full"),
    (Branch::Low, "low", "low-rank"),
    (Branch::Skipped, "skipped", "skipped"),
];

pub(super) fn draw(tokens: &[Token]) -> String {
    let n_layers = tokens.first().map_or(0, |token| token.path.len());
    let texts: Vec<String> = tokens.iter().map(|token| shortened(&token.text)).collect();
    let longest = texts.iter().map(|text| text.chars().count()).max();
    let below = TOP + n_layers * DOWN;
    // Wide enough for the legend as well.
    let width = (LEFT + tokens.len() * ACROSS + 8).max(400);
    let height = below + (longest.unwrap_or(0) as f64 * LETTER) as usize + 12;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>Branches by token and layer</title>\n<style>\n{STYLE}\n</style>\n"
    );
    let mut add = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    let mut x = LEFT;
    for (branch, class, name) in BRANCHES {
        add(format!(
            "<path class=\"{class}\" d=\"{}\"/>",
            cell(branch, x, 10)
        ));
        add(format!("<text x=\"{}\" y=\"18\">{name}</text>", x + 17));
        x += 32 + (name.len() as f64 * LETTER) as usize;
    }
    add(format!(
        "<text x=\"{x}\" y=\"18\">attention above FFN</text>"
    ));
    for layer in 0..n_layers {
        let y = TOP + layer * DOWN + 13;
        let right = LEFT - 6;
        add(format!(
            "<text x=\"{right}\" y=\"{y}\" text-anchor=\"end\">{layer}</text>"
        ));
    }
    // One path for each branch: some bytes a cell.
    for (branch, class, _) in BRANCHES {
        let mut cells = String::new();
        for (at, token) in tokens.iter().enumerate() {
            for (layer, branches) in token.path.iter().enumerate() {
                let (x, y) = (LEFT + at * ACROSS, TOP + layer * DOWN);
                if branches.attention == branch {
                    cells.push_str(&cell(branch, x, y));
                }
                if branches.ffn == branch {
                    cells.push_str(&cell(branch, x, y + FFN));
                }
            }
        }
        if !cells.is_empty() {
            add(format!("<path class=\"{class}\" d=\"{cells}\"/>"));
        }
    }
    for (at, text) in texts.iter().enumerate() {
        let (x, y) = (LEFT + at * ACROSS + 2, below + 2);
        add(format!(
            "<text transform=\"translate({x} {y}) rotate(90)\">{}</text>",
            escaped(text)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A rectangle; a stroked one lies half a pixel further in, to be as large as the others and sharp.
fn cell(branch: Branch, x: usize, y: usize) -> String {
    let [width, height] = CELL;
    match branch {
        Branch::Skipped => format!("M{x}.5 {y}.5h{}v{}h-{}z", width - 1, height - 1, width - 1),
        _ => format!("M{x} {y}h{width}v{height}h-{width}z"),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MOST_LETTERS {
        return text.to_owned();
    }
    text.chars().take(MOST_LETTERS - 1).chain(['…']).collect()
}

/// A quoted text has no control characters, which XML could not hold at all.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Spaces side by side would become one.
            ' ' => out.push('\u{a0}'),
            '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
