// Where a model's files are: on a server, or in files and folders that the visitor has picked.

import { Entry, hasCache } from "./cache.js";
import { fetchFile } from "./download.js";
import { InvalidRequest, UnsupportedModel } from "./errors.js";
import { BlobSource, openUncached } from "./sources.js";

/**
 * A model's place: `{ folder, gguf }` as the engine takes them, `end()` that waits until everything is fetched and
 * checked, `forget()` that removes what was fetched, and the first `failure` of a file.
 * `source` is `{ url, names }`, the names those that there are where that is known, `{ files }` or `{ handle }`.
 */
export async function locate(source, options) {
  if (source.files) return local(source.files);
  if (source.handle) return local(await filesOf(source.handle));
  return remote(source, options);
}

async function remote({ url, names }, { expected, signal, progress }) {
  const place = new Remote(url, expected, names, signal, progress);
  const isGguf = new URL(url).pathname.endsWith(".gguf");
  await place.prepare();
  if (!isGguf) return place;
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop());
  place.gguf = await place.open(name, url);
  if (!place.gguf) throw new UnsupportedModel(`${url}: there is no such file`, { url });
  return place;
}

/** Files beside each other on a server. */
class Remote {
  gguf;
  failure;
  #url;
  #expected;
  #names;
  #signal;
  #progress;
  #opened = new Map();
  #urls = new Set();
  #ends = [];
  #cached;

  constructor(url, expected = {}, names, signal, progress) {
    this.#url = url;
    this.#expected = expected;
    this.#names = names;
    this.#signal = signal;
    this.#progress = progress;
  }

  get folder() {
    return { name: this.#url.replace(/[?#].*$/, ""), open: async (name) => this.open(name) };
  }

  async prepare() {
    this.#cached = await hasCache();
  }

  /** A file by its name; each is asked for once. */
  open(name, url = this.#at(name)) {
    if (this.#names && !this.#names.includes(name)) return undefined;
    if (!this.#opened.has(name)) {
      this.#urls.add(url);
      this.#opened.set(name, this.#open(name, url));
    }
    return this.#opened.get(name);
  }

  #at(name) {
    const base = new URL(this.#url);
    const at = new URL(encodeURIComponent(name), base);
    at.search = base.search; // Tokens of access stay.
    return at.href;
  }

  async #open(name, url) {
    const options = { expected: this.#expected[name], signal: this.#signal, progress: this.#progress };
    try {
      if (!this.#cached) return await openUncached(url, options);
      return watched(await fetchFile(url, { ...options, finished: (end) => this.#ends.push(this.#watch(end)) }), this);
    } catch (error) {
      this.failure ??= error;
      throw error;
    }
  }

  #watch(end) {
    // Handled here, so that it is no unhandled rejection while nobody waits for the end.
    return end.catch((error) => {
      this.failure ??= error;
    });
  }

  /** Waits until everything that was opened is there and checked. */
  async end() {
    await Promise.all(this.#ends);
    if (this.failure) throw this.failure;
  }

  /** Removes everything that was opened from the cache. */
  async forget() {
    await Promise.all(this.#ends);
    for (const url of this.#urls) {
      if (this.#cached) await (await Entry.of(url)).remove();
    }
  }
}

/** A source whose failures the place remembers: the engine would only keep their words. */
function watched(source, place) {
  if (!source) return undefined;
  return {
    name: source.name.replace(/[?#].*$/, ""),
    get length() {
      return source.length;
    },
    read: (offset, length) =>
      source.read(offset, length).catch((error) => {
        place.failure ??= error;
        throw error;
      }),
  };
}

/** Files that were picked. Of a folder with others in it, those beside `config.json`. */
function local(files) {
  const path = (file) => file.webkitRelativePath || file.name;
  const folderOf = (file) => path(file).slice(0, -file.name.length);
  const config = files.find((file) => file.name === "config.json");
  const ggufs = files.filter((file) => file.name.endsWith(".gguf"));
  if (!config && ggufs.length > 1) {
    const names = ggufs.map((file) => file.name).join(", ");
    throw new InvalidRequest(`there are ${ggufs.length} GGUF files; give one of them: ${names}`);
  }
  const model = config ?? ggufs[0];
  if (!model) {
    const found = files.map((file) => file.name).slice(0, 8).join(", ") || "nothing";
    throw new UnsupportedModel(`no model here: expected config.json with safetensors, or a .gguf file; found ${found}`);
  }
  const beside = new Map(files.filter((file) => folderOf(file) === folderOf(model)).map((file) => [file.name, file]));
  const open = (name) => beside.has(name) && new BlobSource(name, beside.get(name));
  return {
    folder: { name: folderOf(model).replace(/\/$/, "") || "the picked files", open: async (name) => open(name) || undefined },
    gguf: config ? undefined : open(model.name),
    end: async () => {},
    forget: async () => {},
  };
}

/** The files of a folder that was picked, not those of its folders. */
async function filesOf(handle) {
  if (handle.kind === "file") return [await handle.getFile()];
  const files = [];
  for await (const entry of handle.values()) {
    if (entry.kind === "file") files.push(await entry.getFile());
  }
  return files;
}
