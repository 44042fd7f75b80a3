// Tokens a second in Chromium on its software adapter, in turn with the native engine on the same machine and file:
// `node web/bench/speed.mjs MODEL.gguf [--device N] [--rounds N] [--prompt N] [--tokens N] [--peers FOLDER]`.
// The native engine takes the adapter N of `deputy devices`, 0 unless another is given. With --peers the engines of
// peers.mjs answer in turn with them.

import { execFileSync } from "node:child_process";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { serve } from "../tests/server.mjs";
import { launch, open, root, web } from "../tests/support.mjs";
import { peers } from "./peers.mjs";

const number = (value) => ({ type: "string", default: value });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { device: number("0"), rounds: number("3"), prompt: number("128"), tokens: number("16"), peers: { type: "string" } },
});
const [model] = positionals;
const [rounds, nPrompt, nTokens] = [values.rounds, values.prompt, values.tokens].map(Number);
const deputy = process.env.DEPUTY ?? join(root, "target/release/deputy");
/** Another prompt each round, so that no cache has it. */
const prompt = (round) => Array.from({ length: nPrompt }, (_, i) => 100 + ((i * 7 + round * 13) % 400));

function native(round) {
  const ids = prompt(round).join(",");
  const line = ["generate", model, "--prompt-ids", ids, "-n", `${nTokens}`, "--temp", "0", "--ctx", "1024", "--device", values.device, "--json"];
  const { prefill_tps, decode_tps } = JSON.parse(execFileSync(deputy, line, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  return { prefill: prefill_tps, decode: decode_tps };
}

// Isolated, so that threads may share memory; a page of one engine, so that none keeps another's.
const isolated = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const site = await serve({ "": web, bench: dirname(model), peers: values.peers ?? "/nowhere" }, isolated);
const file = `/bench/${basename(model)}`;
const browser = await launch();
const page = await open(browser, site.url);
const ready = await page.evaluate(async (path) => {
  const start = performance.now();
  globalThis.engine = await deputy.Engine.load(path, { contextLength: 1024 });
  return performance.now() - start;
}, file);

const inBrowser = (ids) =>
  page.evaluate(async ({ ids, maxTokens }) => {
    const answer = await engine.generate(ids, { maxTokens, temperature: 0, ignoreEos: true });
    await engine.reset();
    return { prefill: answer.prefillTokensPerSecond, decode: answer.decodeTokensPerSecond };
  }, { ids, maxTokens: nTokens });

const engines = [
  { name: "native", answer: native },
  { name: "browser", answer: (round) => inBrowser(prompt(round)) },
];
for (const { name, start, what } of values.peers ? peers(file) : []) {
  const theirs = await open(browser, site.url);
  await theirs.evaluate(start, what);
  const answer = (round) =>
    theirs.evaluate(({ ids, maxTokens }) => globalThis.answer(ids, maxTokens), { ids: prompt(round), maxTokens: nTokens });
  engines.push({ name, answer });
}

// What sizes of step have to be made for the first time is not counted.
for (const { answer } of engines.slice(1)) await answer(rounds);
const results = new Map(engines.map(({ name }) => [name, []]));
for (let round = 0; round < rounds; round++) {
  for (const { name, answer } of engines) results.get(name).push(await answer(round));
}
const info = await page.evaluate(() => engine.info);
await browser.close();
site.close();

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
console.log(`${basename(model)}, ${nPrompt} tokens of prompt, ${nTokens} of answer, medians of ${rounds}; ${info.adapter.name}, ready in ${(ready / 1000).toFixed(1)} s\n`);
console.log("| | prefill, tok/s | decode, tok/s | browser to it: prefill | decode |\n|---|---|---|---|---|");
const speeds = (name) => ["prefill", "decode"].map((what) => median(results.get(name).map((result) => result[what])));
const ours = speeds("browser");
for (const { name } of engines) {
  const theirs = speeds(name);
  const ratios = theirs.map((speed, i) => (ours[i] / speed).toFixed(2));
  console.log(`| ${[name, ...theirs.map((speed) => speed.toFixed(2)), ...ratios].join(" | ")} |`);
}
