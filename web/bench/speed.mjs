// Tokens a second in Chromium on its software adapter, in turn with the native engine on the same machine and file:
// `node web/bench/speed.mjs MODEL.gguf [--device N] [--rounds N] [--prompt N] [--tokens N]`.
// The native engine takes the adapter N of `deputy devices`, 0 unless another is given.

import { execFileSync } from "node:child_process";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { serve } from "../tests/server.mjs";
import { launch, open, root, web } from "../tests/support.mjs";

const number = (value) => ({ type: "string", default: value });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { device: number("0"), rounds: number("3"), prompt: number("128"), tokens: number("16") },
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

const site = await serve({ "": web, bench: dirname(model) });
const browser = await launch();
const page = await open(browser, site.url);
const ready = await page.evaluate(async (path) => {
  const start = performance.now();
  globalThis.engine = await deputy.Engine.load(path, { contextLength: 1024 });
  return performance.now() - start;
}, `/bench/${basename(model)}`);

const inBrowser = (ids) =>
  page.evaluate(async ({ ids, maxTokens }) => {
    const answer = await engine.generate(ids, { maxTokens, temperature: 0, ignoreEos: true });
    await engine.reset();
    return { prefill: answer.prefillTokensPerSecond, decode: answer.decodeTokensPerSecond };
  }, { ids, maxTokens: nTokens });

// What sizes of step have to be made for the first time is not counted.
await inBrowser(prompt(rounds));
const results = { native: [], browser: [] };
for (let round = 0; round < rounds; round++) {
  results.native.push(native(round));
  results.browser.push(await inBrowser(prompt(round)));
}
const info = await page.evaluate(() => engine.info);
await browser.close();
site.close();

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
console.log(`${basename(model)}, ${nPrompt} tokens of prompt, ${nTokens} of answer, medians of ${rounds}; ${info.adapter.name}, ready in ${(ready / 1000).toFixed(1)} s`);
for (const what of ["prefill", "decode"]) {
  const [here, there] = ["native", "browser"].map((side) => median(results[side].map((result) => result[what])));
  console.log(`${what}: native ${here.toFixed(1)} tok/s, browser ${there.toFixed(2)} tok/s, ${(here / there).toFixed(1)} to one`);
}
