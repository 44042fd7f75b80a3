// Draws which branch each token of an answer took in each layer.

import { percent } from "./format.js";

const WORDS = { f: "full", l: "low-rank", s: "skipped" };

/** `tokens` as `engine.routes()` gives them: one column each, two rows a layer. */
export function draw(table, summary, { tokens, shares }) {
  const head = row("th", "", tokens.map(({ text }) => cell("th", visible(text))));
  const rows = [];
  const n = tokens[0]?.layers.length ?? 0;
  for (let layer = 0; layer < n; layer++) {
    for (const [at, part] of [[0, "attention"], [1, "FFN"]]) {
      const cells = tokens.map(({ text, layers }) => {
        const branch = layers[layer][at];
        const td = cell("td", "");
        td.className = branch;
        td.title = `${visible(text)}: ${part} of layer ${layer + 1}, ${WORDS[branch]}`;
        return td;
      });
      rows.push(row("th", `${layer + 1} ${part}`, cells));
    }
  }
  const [thead, tbody] = [document.createElement("thead"), document.createElement("tbody")];
  thead.append(head);
  tbody.append(...rows);
  table.replaceChildren(thead, tbody);
  summary.textContent = `Of the whole conversation's tokens and layers, ${percent(shares.attentionLow)} took a low-rank attention and ${percent(shares.ffnLow)} a low-rank FFN, ${percent(shares.ffnSkipped)} skipped the FFN: ${percent(shares.compute)} of the multiply-adds ran.`;
}

function row(tag, text, cells) {
  const tr = document.createElement("tr");
  tr.append(cell(tag, text), ...cells);
  return tr;
}

function cell(tag, text) {
  const cell = document.createElement(tag);
  cell.textContent = text;
  return cell;
}

/** Spaces at the ends would not be seen. */
function visible(text) {
  return text.replace(/\n/g, "⏎").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}
