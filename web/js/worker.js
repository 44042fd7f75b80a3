// Runs the engine. Messages in: `{ id, type, value }`, and `{ id, type: "abort" }` for one of them; messages out:
// `{ id, event }`, then `{ id, result }` or `{ id, error }`; without an id what concerns all.

import init, { WebEngine } from "../dist/deputy_web.js";
import { InvalidRequest, pack } from "./errors.js";
import { locate } from "./folders.js";
import { watch } from "./gpu.js";

let engine;
let gpu;
let lost = false;
let memory;
/** Calls under way: what aborts each. */
const calls = new Map();
/** The engine does one thing at a time. */
let last = Promise.resolve();

const handlers = {
  async load({ source, options, expected }, { signal, event }) {
    const wasm = init({ module_or_path: new URL("../dist/deputy_web_bg.wasm", import.meta.url) });
    gpu = await watch({ subgroups: options.subgroups ?? true, onLost });
    ({ memory } = await wasm);
    const files = new Map();
    const progress = (url, done, total, cached) => {
      files.set(url, { done, total, cached });
      const all = [...files.values()];
      const sum = (of) => all.reduce((n, file) => n + of(file), 0);
      const loaded = sum((file) => file.done);
      const fromCache = sum((file) => (file.cached ? file.total : 0));
      event({ phase: "download", loaded, total: sum((file) => file.total), fromCache });
    };
    const place = await locate(source, { expected, signal, progress });
    try {
      const { weights, kv, contextLength, memory: limit } = options;
      const { subgroups, software } = gpu.adapter;
      const settings = { weights, kv, contextLength, memory: limit, subgroups, software };
      const onWeights = (loaded, total) => {
        event({ phase: "weights", loaded, total });
        if (loaded === total) event({ phase: "kernels", loaded, total });
      };
      engine = await WebEngine.load(place.folder, place.gguf, settings, onWeights);
      await place.end();
    } catch (error) {
      signal.throwIfAborted();
      // What a file's reading threw says more than the engine, which has only seen that it failed.
      const cause = error.name === "io" ? (place.failure ?? error) : error;
      if (error.name === "damaged") await place.forget();
      throw cause;
    }
    return info();
  },

  async generate(request, { signal, event }) {
    const loaded = ready();
    signal.throwIfAborted();
    const cancel = () => loaded.cancel();
    signal.addEventListener("abort", cancel);
    try {
      const onPiece = (token, text) => {
        restored();
        event({ token, text });
        return !signal.aborted;
      };
      return await loaded.generate(request, onPiece);
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  },

  async tokenize({ text, special }) {
    return Array.from(ready().tokenize(text, special));
  },

  async detokenize({ ids }) {
    return ready().detokenize(Uint32Array.from(ids));
  },

  async routes() {
    return ready().routes();
  },

  async reset() {
    ready().reset();
  },

  async info() {
    return info();
  },

  async loseDevice() {
    gpu.device().destroy();
  },

  async unload() {
    gpu = undefined;
    engine?.unload();
    engine = undefined;
  },
};

function ready() {
  if (!engine) throw new InvalidRequest("no model is loaded");
  return engine;
}

function info() {
  return { ...ready().info(), adapter: gpu.adapter, wasmBytes: memory.buffer.byteLength };
}

function onLost(cause) {
  if (!gpu || !engine) return;
  lost = true;
  postMessage({ event: { type: "devicelost", cause } });
}

/** The engine has opened another device, since it goes on. */
function restored() {
  if (!lost) return;
  lost = false;
  postMessage({ event: { type: "devicerestored" } });
}

async function run({ id, type, value }, signal) {
  const event = (event) => postMessage({ id, event });
  try {
    postMessage({ id, result: await handlers[type](value, { signal, event }) });
  } catch (error) {
    postMessage({ id, error: pack(signal.aborted ? signal.reason : error) });
  } finally {
    calls.delete(id);
  }
}

/** Does not wait for its turn. */
const AT_ONCE = new Set(["loseDevice", "info"]);

self.onmessage = ({ data }) => {
  if (data.type === "abort") {
    calls.get(data.id)?.abort();
    return;
  }
  const controller = new AbortController();
  calls.set(data.id, controller);
  const start = () => run(data, controller.signal);
  if (AT_ONCE.has(data.type)) start();
  else last = last.then(start);
};

// A panic of the engine leaves its call without an end.
self.addEventListener("error", (event) => postMessage({ fatal: pack(event.error ?? event) }));
self.addEventListener("unhandledrejection", ({ reason }) => {
  if (reason instanceof WebAssembly.RuntimeError) postMessage({ fatal: pack(reason) });
});
