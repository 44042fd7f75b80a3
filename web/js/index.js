// deputy in a web page: language models on the visitor's own GPU.

import { cacheSize, clearCache } from "./cache.js";
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { InvalidRequest } from "./errors.js";

export { cacheSize, clearCache };
export {
  AdapterLimits,
  ContextFull,
  DeputyError,
  DeviceLost,
  DownloadFailed,
  EngineFailure,
  IntegrityError,
  InvalidRequest,
  OutOfMemory,
  UnsupportedModel,
  WebGPUNotAvailable,
} from "./errors.js";

/** Where the default model lies, made by `cargo xtask web`. */
const DEFAULT_MODEL = new URL("../dist/model/", import.meta.url);

/** Options of loading that the worker gets. */
const SETTINGS = new Set(["weights", "kv", "contextLength", "memory", "subgroups"]);

/** A model that is loaded, in a worker of its own. Events: `devicelost`, `devicerestored`. */
export class Engine extends EventTarget {
  #connection;
  #unloaded = false;

  /** What was loaded; see the types. */
  info;
  /** OpenAI's shape: `chat.completions.create`. */
  chat;

  /**
   * Loads a model: the default one, or from the URL of a folder or a `.gguf` file, `hf:owner/name`, picked files, or
   * the handle of a picked folder.
   */
  static async load(source, options = {}) {
    if (isOptions(source)) [source, options] = [undefined, source];
    const { onProgress, signal, sha256, effort, ...settings } = options;
    signal?.throwIfAborted();
    for (const name of Object.keys(settings)) {
      if (!SETTINGS.has(name)) throw new InvalidRequest(`Engine.load has no option ${JSON.stringify(name)}`);
    }
    const place = await locate(source);
    const expected = { ...place.expected };
    for (const [name, hash] of Object.entries(sha256 ?? {})) {
      expected[name] = { ...expected[name], sha256: hash.toLowerCase() };
    }
    const connection = new Connection(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
    const stop = () => connection.close(signal.reason);
    signal?.addEventListener("abort", stop);
    try {
      const value = { source: place.source, options: settings, expected };
      const info = await connection.call("load", value, { onEvent: (progress) => onProgress?.(progress) });
      onProgress?.({ phase: "ready", loaded: 1, total: 1 });
      return new Engine(connection, info, effort);
    } catch (error) {
      connection.close(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  constructor(connection, info, effort) {
    super();
    this.#connection = connection;
    this.info = info;
    this.effort = effort;
    this.chat = new Chat(this);
    connection.onevent = ({ type, cause }) => this.dispatchEvent(new CustomEvent(type, { detail: { cause } }));
  }

  /**
   * Continues a text or ids. `onToken` gets `{ token, text }` as they come; text may be empty until a character is
   * whole.
   */
  async generate(prompt, { onToken, signal, ...options } = {}) {
    const given = typeof prompt === "string" ? { prompt } : { ids: Array.from(prompt) };
    const request = { ...given, ...this.#drawing(options) };
    return this.#connection.call("generate", request, { signal, onEvent: onToken });
  }

  /** An answer to messages; what `chat` is made of. */
  async answer(messages, { onToken, signal, ...options } = {}) {
    const request = { messages, ...this.#drawing(options) };
    return this.#connection.call("generate", request, { signal, onEvent: onToken });
  }

  #drawing(options) {
    const effort = this.info.routed ? (options.effort ?? this.effort) : undefined;
    return { ...options, effort };
  }

  /** The ids of a text. Control tokens in it are plain text unless `special` is set. */
  async tokenize(text, { special = false, signal } = {}) {
    return this.#connection.call("tokenize", { text, special }, { signal });
  }

  /** The text of ids. */
  async detokenize(ids, { signal } = {}) {
    return this.#connection.call("detokenize", { ids: Array.from(ids) }, { signal });
  }

  /** The path of each token that the cache holds; `null` for a model without routers. */
  async routes({ signal } = {}) {
    return this.#connection.call("routes", undefined, { signal });
  }

  /** Forgets the conversation in the cache. Answers do not depend on it. */
  async reset() {
    return this.#connection.call("reset");
  }

  /** What the worker's memory has grown to, and the rest of `info`, now. */
  async refresh() {
    this.info = await this.#connection.call("info");
    return this.info;
  }

  /** Destroys the GPU device as a crashed driver would, to test recovery. */
  async loseDevice() {
    return this.#connection.call("loseDevice");
  }

  /** Frees the device and ends the worker. */
  async unload() {
    if (this.#unloaded) return;
    this.#unloaded = true;
    this.#connection.abortAll();
    await this.#connection.call("unload").catch(() => {});
    this.#connection.close(new DOMException("the engine was unloaded", "AbortError"));
  }
}

function isOptions(source) {
  return source?.constructor === Object && !(source.kind === "file" || source.kind === "directory");
}

/** What the worker gets for a source: something that can be sent. */
async function locate(source) {
  if (source === undefined || source === null) {
    const { files } = await (await fetch(new URL("../model.json", DEFAULT_MODEL))).json();
    return { source: { url: DEFAULT_MODEL.href, names: Object.keys(files) }, expected: files };
  }
  if (typeof source === "string" || source instanceof URL) return { source: { url: address(String(source)) } };
  if (source instanceof Blob) return { source: { files: [asFile(source)] } };
  if (source.kind === "file" || source.kind === "directory") return { source: { handle: source } };
  const files = Array.from(source);
  if (files.every((file) => file instanceof Blob)) return { source: { files: files.map(asFile) } };
  throw new InvalidRequest("a model is loaded from a URL, files, or the handle of a folder or a file");
}

function asFile(blob) {
  return blob instanceof File ? blob : new File([blob], "model.gguf");
}

function address(text) {
  const hub = text.match(/^(?:hf:|https:\/\/huggingface\.co\/)([\w.-]+\/[\w.-]+)\/?$/)?.[1];
  const url = new URL(hub ? `https://huggingface.co/${hub}/resolve/main/` : text, globalThis.document?.baseURI ?? location.href);
  if (!/\.gguf$|\/$/.test(url.pathname)) url.pathname += "/";
  return url.href;
}
