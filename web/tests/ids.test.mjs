// The browser gives the ids that the native engine gives.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { launch, made, models, native, open, root, run, server, sharedModels } from "./support.mjs";

let browser, site;
before(async () => {
  [browser, site] = await Promise.all([launch(), server()]);
  const calib = ["--calib", join(root, "README.md"), "--tokens", "512"];
  run("flatten", join(models, "qwen3"), ...calib, "-o", join(made, "flat"));
});
after(async () => {
  await browser?.close();
  site?.close();
});

/** The ids of a greedy answer in a page of its own; `load` are options of loading. */
async function ids(source, prompt, n, load = {}) {
  const page = await open(browser, site.url);
  const answer = await page.evaluate(
    async ({ source, prompt, n, load }) => {
      const engine = await deputy.Engine.load(source ?? undefined, load);
      const answer = await engine.generate(prompt, { maxTokens: n, temperature: 0 });
      await engine.unload();
      return answer;
    },
    { source, prompt, n, load },
  );
  await page.context().close();
  return answer;
}

/** Compares with the native engine: a folder or file, where it is served, prompt, tokens. */
function agrees(name, { path, url, prompt, n = 24, load = {}, args = [] }) {
  test(`${name}: the same ids`, async (t) => {
    const given = typeof prompt === "string" ? ["-p", prompt] : ["--prompt-ids", prompt.join(",")];
    const expected = native([path, ...given, "-n", String(n), ...args]);
    const found = await ids(url && site.url + url, prompt, n, load);
    assert.deepEqual(found.ids, expected.ids);
    assert.equal(found.stop, expected.stop);
    if (typeof prompt === "string") assert.equal(found.text, expected.text);
    assert.ok(found.ids.length > 4, "an answer to compare");
    t.diagnostic(`${found.ids.length} ids: ${found.ids.slice(0, 6)} …`);
  });
}

agrees("the default model", { path: join(root, "models/default"), prompt: "Once upon a time", n: 32 });
agrees("the default model without subgroups", {
  path: join(root, "models/default"),
  prompt: "The old man looked",
  load: { subgroups: false },
});
agrees("a folder with tokenizer", { path: join(models, "qwen3"), url: "/models/qwen3/", prompt: "Hello, world" });
agrees("a GGUF file", { path: join(models, "qwen3/model.gguf"), url: "/models/qwen3/model.gguf", prompt: "Hello, world" });
agrees("shards", { path: join(models, "llama-sharded"), url: "/models/llama-sharded/", prompt: [1, 5, 9, 2] });
agrees("a GGUF file of mixed formats", {
  path: join(models, "gguf-q4_k_m/model.gguf"),
  url: "/models/gguf-q4_k_m/model.gguf",
  prompt: [1, 5, 9, 2],
});
agrees("quantised on the way, a cache in f32", {
  path: join(models, "qwen3"),
  url: "/models/qwen3/",
  prompt: "Hello, world",
  load: { weights: "q8", kv: "f32" },
  args: ["--weights", "q8", "--kv", "f32"],
});
agrees("a flattened model", {
  path: join(made, "flat"),
  url: "/made/flat/",
  // From five tokens on products multiply integers.
  prompt: "Hello, world, said the old man who lived by the sea",
});

const shared = sharedModels();
if (shared) {
  agrees("tinystories-656k", {
    path: join(shared, "tinystories-656k"),
    url: "/shared/tinystories-656k/",
    prompt: "Once upon a time",
    n: 48,
  });
  agrees("stories260K.gguf", {
    path: join(shared, "stories260k/stories260K.gguf"),
    url: "/shared/stories260k/stories260K.gguf",
    prompt: "Once upon a time",
    n: 48,
  });
}
