// Where a model comes from: the network, the cache, picked files; and what goes wrong there.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { join } from "node:path";
import { launch, models, open, server } from "./support.mjs";

/** A small model, and the largest file of the default one. */
const SMALL = "/models/qwen3/";
const WEIGHTS = "/dist/model/model.safetensors";

let browser, site, page;
before(async () => {
  [browser, site] = await Promise.all([launch(), server()]);
});
after(async () => {
  await browser?.close();
  site?.close();
});
afterEach(async () => {
  await page?.context().close();
  site.faults.clear();
});

/** A page with a profile of its own; what `load` gives: the answer or the failure, and progress. */
async function fresh() {
  page = await open(browser, site.url);
  await helpers();
}

const helpers = () =>
  page.evaluate(() => {
    globalThis.load = async (source, options = {}) => {
      const progress = [];
      const onProgress = (step) => progress.push(step);
      try {
        const engine = await deputy.Engine.load(source ?? undefined, { onProgress, ...options });
        const { ids } = await engine.generate([1, 5, 9, 2], { maxTokens: 8, temperature: 0 });
        const info = await engine.refresh();
        await engine.unload();
        return { ids, progress, info };
      } catch ({ name, message, details }) {
        return { failure: { name, message, details }, progress };
      }
    };
  });

const load = (source, options) => page.evaluate(([source, options]) => load(source, options), [source, options]);
const size = () => page.evaluate(() => deputy.cacheSize());

/** Requests of files below a path since the last call. */
function asked(below) {
  const found = site.requests.filter(({ path }) => path.startsWith(below));
  site.requests.length = 0;
  return found;
}

/** The bytes of a test model's files. */
const bytesOf = (...names) => names.reduce((n, name) => n + readFileSync(join(models, name)).length, 0);

test("progress reaches the end, and never goes back", async () => {
  await fresh();
  const { progress } = await load(site.url + SMALL);
  const phases = progress.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
  assert.equal(phases.at(0), "download");
  assert.equal(phases.at(-1), "ready");
  const download = progress.filter(({ phase }) => phase === "download");
  const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
  assert.equal(download.at(-1).loaded, bytesOf(...names.map((name) => `qwen3/${name}`)));
  for (const phase of ["download", "weights"]) {
    const steps = progress.filter((step) => step.phase === phase);
    assert.equal(steps.at(-1).loaded, steps.at(-1).total, phase);
    assert.ok(steps.every(({ loaded }, i) => i === 0 || loaded >= steps[i - 1].loaded), phase);
  }
});

test("another load comes from the cache", async () => {
  await fresh();
  const first = await load(site.url + SMALL);
  assert.ok(asked(SMALL).some(({ method }) => method === "GET"));
  await page.reload();
  await page.waitForFunction(() => globalThis.deputy);
  await helpers();
  const second = await load(site.url + SMALL);
  const methods = asked(SMALL).map(({ method }) => method);
  assert.ok(methods.length > 0 && methods.every((method) => method === "HEAD"), `asked by ${methods}`);
  assert.deepEqual(second.ids, first.ids);
  const { loaded, fromCache } = second.progress.findLast(({ phase }) => phase === "download");
  assert.equal(fromCache, loaded);
});

test("a file that has changed is fetched again", async () => {
  await fresh();
  const first = await load(site.url + SMALL);
  // Other bytes of the same length: the ETag tells.
  const path = `${SMALL}model.safetensors`;
  site.faults.set(path, (bytes) => {
    const changed = Buffer.from(bytes);
    changed.writeFloatLE(changed.readFloatLE(changed.length - 4) + 1, changed.length - 4);
    return changed;
  });
  asked("/");
  const second = await load(site.url + SMALL);
  assert.deepEqual(asked("/models").filter(({ method }) => method === "GET").map(({ path }) => path), [path]);
  assert.ok(first.ids && second.ids);
});

test("the default model is checked, and known again without asking", async () => {
  await fresh();
  await load();
  assert.equal(asked("/dist/model/").length, 8);
  const { progress } = await load();
  assert.deepEqual(asked("/dist/model/"), []);
  assert.equal(progress.at(-1).phase, "ready");
});

test("a broken connection is resumed where it broke", async () => {
  await fresh();
  site.faults.set(WEIGHTS, { cut: 2_000_000, times: 2 });
  const { failure, ids } = await load();
  assert.equal(failure, undefined);
  assert.ok(ids);
  const ranges = asked(WEIGHTS).map(({ range }) => range);
  assert.deepEqual(ranges, [undefined, "bytes=2000000-", "bytes=4000000-"]);
});

test("what has come can be read at any time, the end of the download too", async () => {
  await fresh();
  const { n, error } = await page.evaluate(async (url) => {
    // The file that a download becomes is opened slowly.
    const code = `
      import { fetchFile } from "${location.origin}/js/download.js";
      const { prototype } = FileSystemFileHandle;
      const { getFile } = prototype;
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      prototype.getFile = async function () {
        await pause(200);
        return getFile.call(this);
      };
      let isDone = false;
      const finished = (end) => end.finally(() => (isDone = true));
      try {
        const file = await fetchFile("${url}", { progress() {}, finished });
        let n = 0;
        for (; !isDone; n++) {
          await file.read(0, 8);
          await pause(10);
        }
        postMessage({ n });
      } catch (error) {
        postMessage({ error: String(error) });
      }
    `;
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
    const said = await new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
    worker.terminate();
    return said;
  }, site.url + WEIGHTS);
  assert.equal(error, undefined);
  assert.ok(n > 1, `${n} reads`);
});

test("a download that was aborted goes on where it was", async () => {
  await fresh();
  site.faults.set(WEIGHTS, { slow: 20 });
  const aborted = await page.evaluate(async () => {
    const controller = new AbortController();
    const onProgress = ({ loaded }) => loaded > 3_000_000 && controller.abort();
    const start = performance.now();
    return { ...(await load(undefined, { signal: controller.signal, onProgress })), ms: performance.now() - start };
  });
  assert.equal(aborted.failure.name, "AbortError");
  site.faults.clear();
  asked("/");
  const { failure, ids } = await load();
  assert.equal(failure, undefined);
  assert.ok(ids);
  const [{ range }, ...more] = asked(WEIGHTS);
  assert.match(range ?? "none", /^bytes=[1-9]\d+-$/);
  assert.deepEqual(more, []);
});

test("a truncated file is an IntegrityError and leaves nothing", async () => {
  await fresh();
  site.faults.set(`${SMALL}model.safetensors`, (bytes) => bytes.subarray(0, bytes.length - 100));
  const { failure } = await load(site.url + SMALL);
  assert.equal(failure.name, "IntegrityError");
  assert.match(failure.message, /model\.safetensors/);
  assert.equal(await size(), 0);
});

test("a corrupted file is an IntegrityError and leaves nothing", async () => {
  await fresh();
  site.faults.set(WEIGHTS, (bytes) => {
    const changed = Buffer.from(bytes);
    changed[changed.length - 1] ^= 1;
    return changed;
  });
  const { failure } = await load();
  assert.equal(failure.name, "IntegrityError");
  assert.match(failure.message, /SHA-256/);
  assert.match(failure.details.expected, /^[0-9a-f]{64}$/);
  const kept = await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const names = [];
    for await (const [, handle] of (await root.getDirectoryHandle("deputy")).entries()) {
      names.push((await handle.getFile()).size);
    }
    return Math.max(...names);
  });
  assert.ok(kept < 5_000_000, "the weights are gone");
  site.faults.clear();
  const again = await load();
  assert.ok(again.ids, `come whole: ${JSON.stringify(again.failure)}`);
});

test("a hash that a page gives is checked", async () => {
  await fresh();
  const { failure } = await load(site.url + SMALL, { sha256: { "config.json": "0".repeat(64) } });
  assert.equal(failure.name, "IntegrityError");
  assert.match(failure.message, /config\.json/);
});

test("what is absent or no model is named", async () => {
  await fresh();
  const absent = await load(`${site.url}/models/nothing/`);
  assert.equal(absent.failure.name, "UnsupportedModel");
  assert.match(absent.failure.message, /config\.json/);
  const gguf = await load(`${site.url}/models/nothing.gguf`);
  assert.equal(gguf.failure.name, "UnsupportedModel");
  site.faults.set(`${SMALL}config.json`, { status: 403 });
  const refused = await load(site.url + SMALL);
  assert.equal(refused.failure.name, "DownloadFailed");
  assert.equal(refused.failure.details.status, 403);
});

test("limits are named with what is needed", async () => {
  await fresh();
  const memory = await load(site.url + SMALL, { memory: 1000 });
  assert.equal(memory.failure.name, "OutOfMemory");
  assert.match(memory.failure.message, /more than the 1000 allowed/);
  const context = await load(site.url + SMALL, { contextLength: 1_000_000_000 });
  assert.equal(context.failure.name, "InvalidRequest");
  site.faults.set(`${SMALL}config.json`, (bytes) => {
    const config = { ...JSON.parse(bytes), max_position_embeddings: 10_000_000 };
    return Buffer.from(JSON.stringify(config));
  });
  const binding = await load(site.url + SMALL, { contextLength: 10_000_000 });
  assert.equal(binding.failure.name, "AdapterLimits");
  assert.match(binding.failure.message, /cache of a layer needs \d+ bytes in one buffer, at most 134217728/);
});

test("the cache can be measured and cleared", async () => {
  await fresh();
  assert.equal(await size(), 0);
  await load(site.url + SMALL);
  assert.ok((await size()) > bytesOf("qwen3/model.safetensors"));
  await page.evaluate(() => deputy.clearCache());
  assert.equal(await size(), 0);
  asked("/");
  assert.ok((await load(site.url + SMALL)).ids);
  assert.ok(asked(SMALL).some(({ method }) => method === "GET"));
});

test("picked files work, offline", async () => {
  await fresh();
  const expected = await load(site.url + SMALL);
  // The worker and the wasm are the page's own.
  await page.route((url) => url.pathname.startsWith("/models/"), (route) => route.abort());
  await page.setContent(`<input type="file" multiple>`);
  const folder = join(models, "qwen3");
  const pick = async (names) => {
    await page.setInputFiles("input", names.map((name) => join(folder, name)));
    return page.evaluate(() => load(document.querySelector("input").files));
  };
  const names = readdirSync(folder).filter((name) => !name.startsWith("golden") && !name.startsWith("logits") && name !== "model.gguf");
  assert.deepEqual((await pick(names)).ids, expected.ids);
  assert.deepEqual((await pick(["model.gguf"])).ids, expected.ids);
  const { failure } = await pick(["golden.json"]);
  assert.equal(failure.name, "UnsupportedModel");
  assert.match(failure.message, /golden\.json/);
});

test("a model in the cache works offline", async () => {
  await fresh();
  const expected = await load(site.url + SMALL);
  await page.route((url) => url.pathname.startsWith("/models/"), (route) => route.abort());
  assert.deepEqual((await load(site.url + SMALL)).ids, expected.ids);
});

test("memory stays small while a model is loaded", async () => {
  await fresh();
  const { info } = await load(undefined, { weights: "f32" });
  // Slabs of at most 8 MiB, what they become, and the tokenizer.
  assert.ok(info.wasmBytes < 24 << 20, `${info.wasmBytes} bytes`);
});

/** What ten loads may leave behind: less than 2 MiB each. */
const STRETCH_BYTES = 10 * (2 << 20);

test("twenty loads and unloads leave nothing behind", async (t) => {
  await fresh();
  const rounds = (n) =>
    page.evaluate(async ([url, n]) => {
      for (let i = 0; i < n; i++) {
        const { failure } = await load(url);
        if (failure) throw new Error(failure.message);
      }
    }, [site.url + SMALL, n]);
  await rounds(2);
  assert.ok(memory() > 50 << 20, `${memory()} bytes are no browser`);
  // What is left behind grows in every stretch; a browser takes and gives back some tens of MiB at any time.
  const grown = [];
  while (grown.length < 2 || (grown.length < 4 && Math.min(...grown) >= STRETCH_BYTES)) {
    const before = memory();
    await rounds(10);
    grown.push(memory() - before);
  }
  t.diagnostic(`${grown.map((bytes) => Math.round(bytes / 1024)).join(", ")} KiB more after ten rounds each`);
  // A worker that was ended takes a moment to go.
  for (let i = 0; i < 50 && page.workers().length > 0; i++) await page.waitForTimeout(100);
  assert.equal(page.workers().length, 0);
  assert.ok(Math.min(...grown) < STRETCH_BYTES, `${grown} bytes more after ten rounds each`);
});

/** Bytes that the browser's processes have to themselves. */
function memory() {
  const children = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1];
      children.set(parent, [...(children.get(parent) ?? []), pid]);
    } catch {
      // It has ended meanwhile.
    }
  }
  const sum = (pid) => {
    let bytes = 0;
    try {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      for (const [, kib] of rollup.matchAll(/^Private_\w+:\s+(\d+) kB/gm)) bytes += 1024 * Number(kib);
    } catch {
      // Likewise.
    }
    return (children.get(pid) ?? []).reduce((n, child) => n + sum(child), bytes);
  };
  return (children.get(String(process.pid)) ?? []).reduce((n, pid) => n + sum(pid), 0);
}

test("without an adapter the reason is given", async () => {
  const plain = await launch([]);
  try {
    page = await open(plain, site.url);
    await helpers();
    const { failure } = await load(site.url + SMALL);
    assert.equal(failure.name, "WebGPUNotAvailable");
    assert.ok(["api", "adapter"].includes(failure.details.reason), failure.details.reason);
  } finally {
    await plain.close();
  }
});
