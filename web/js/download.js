// One file from the network into the cache: resumed where it was left, checked, and read while it still arrives.

import { Sha256 } from "../dist/deputy_web.js";
import { Entry } from "./cache.js";
import { DownloadFailed, IntegrityError } from "./errors.js";
import { BlobSource, openUncached } from "./sources.js";

/** Shorter files are waited for. */
const STREAMED = 4 << 20;
/** Attempts in a row that bring nothing. */
const ATTEMPTS = 4;
/** Milliseconds before the second of them; twice as long before each further one. */
const PAUSE = 400;

/**
 * The file at `url` as a source, from the cache where it is still the same there; `undefined` where there is none.
 * `expected` may have `bytes` and `sha256`: with a hash that the cache knows nothing is asked of the network.
 * `signal` ends the download; `progress(url, done, total)` sees it come, `finished(promise)` gets its end.
 */
export async function fetchFile(url, { expected = {}, signal, progress, finished }) {
  const entry = await Entry.of(url);
  const unlock = await lock(entry.lock, signal);
  let begun = false;
  try {
    const record = await entry.record();
    const cached = await stillGood(entry, record, url, expected, signal);
    if (cached === null) return undefined;
    if (cached) {
      progress(url, cached.size, cached.size, true);
      return new BlobSource(url, cached);
    }
    const download = new Download(entry, url, expected, signal, progress);
    begun = await download.begin(record);
    if (!begun) return undefined;
    const end = download.run().finally(unlock);
    finished(end);
    // Also where the server does not say how long it is.
    if (!(download.length >= STREAMED)) await end;
    return download;
  } finally {
    if (!begun) unlock();
  }
}

/** The cached file, `null` where there is none on the server, `undefined` where it has to be fetched. */
async function stillGood(entry, record, url, expected, signal) {
  if (!record?.complete && !record?.absent) return undefined;
  const file = record.complete ? await entry.file() : null;
  if (file === undefined || (file && file.size !== record.length)) return undefined;
  if (expected.sha256) return record.sha256 === expected.sha256 ? file : undefined;
  let response;
  try {
    response = await fetch(url, { method: "HEAD", signal, cache: "no-store" });
  } catch (error) {
    signal?.throwIfAborted();
    return file; // Offline: what is there will do.
  }
  if (response.status === 404 || response.status === 410) {
    if (file) await entry.remove();
    return null;
  }
  if (!response.ok) return file;
  return file && isSame(record, validators(response)) ? file : undefined;
}

/** What tells a version of a file from another. */
function validators(response) {
  const announced = response.headers.get("content-length");
  return {
    etag: response.headers.get("etag"),
    modified: response.headers.get("last-modified"),
    announced: announced === null ? null : Number(announced),
  };
}

function isSame(record, { etag, modified, announced }) {
  if (record.etag && etag) return record.etag === etag;
  if (record.modified && modified && record.modified !== modified) return false;
  return record.announced === announced;
}

/** A download under way; a source of what has come and of what will. */
class Download {
  name;
  length;
  #entry;
  #expected;
  #signal;
  #progress;
  #record;
  #handle;
  #response;
  #hash;
  /** Bytes that have been written. */
  #have = 0;
  /** Reads that wait for more: `{ end, resolve, reject }`. */
  #waiting = [];
  #file;
  #error;

  constructor(entry, url, expected, signal, progress) {
    this.name = url;
    this.#entry = entry;
    this.#expected = expected;
    this.#signal = signal;
    this.#progress = progress;
  }

  /** Asks for the file, from where an earlier download was left off; `false` where there is none. */
  async begin(record) {
    const partial = record && !record.complete && !record.absent ? await this.#entry.file() : undefined;
    this.#response = await this.#ask(partial?.size ?? 0);
    if (this.#response.status === 206 && !isSame(record, { ...validators(this.#response), announced: record.announced })) {
      this.#response.body?.cancel();
      this.#response = await this.#ask(0);
    }
    const { status } = this.#response;
    if (status === 404 || status === 410) {
      await this.#entry.remove();
      await this.#entry.keep({ url: this.name, absent: true });
      return false;
    }
    const resumed = status === 206;
    const found = validators(this.#response);
    const total = resumed ? record.announced : found.announced;
    this.#record = { url: this.name, ...found, announced: total, complete: false };
    const { bytes } = this.#expected;
    if (bytes !== undefined && total !== null && total !== bytes && !this.#response.headers.has("content-encoding")) {
      this.#response.body?.cancel();
      await this.#entry.remove();
      throw this.#damaged("its length", bytes, total);
    }
    this.length = total ?? undefined;
    await this.#entry.keep(this.#record);
    this.#handle = await this.#entry.open();
    this.#hash = this.#expected.sha256 ? new Sha256() : undefined;
    if (resumed) {
      this.#have = partial.size;
      this.#rehash();
    } else {
      this.#handle.truncate(0);
    }
    this.#report();
    return true;
  }

  /** A response to read from: 200, 206, or that the file is absent. Failures that may pass are tried again. */
  async #ask(from) {
    let cause;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (attempt > 0) await pause(PAUSE << (attempt - 1), this.#signal);
      try {
        const headers = from > 0 ? { Range: `bytes=${from}-` } : {};
        const response = await fetch(this.name, { headers, signal: this.#signal, cache: "no-store" });
        const { status } = response;
        const starts = response.headers.get("content-range")?.match(/^bytes (\d+)-/)?.[1];
        if (status === 416 || (status === 206 && starts !== undefined && Number(starts) !== from)) {
          response.body?.cancel();
          from = 0;
          continue;
        }
        if (response.ok || status === 404 || status === 410) return response;
        response.body?.cancel();
        cause = new DownloadFailed(`${this.name}: the server answers ${status}`, { url: this.name, status });
        if (status < 500 && status !== 429 && status !== 408) break;
      } catch (error) {
        this.#signal?.throwIfAborted();
        cause = new DownloadFailed(`${this.name}: ${error.message}`, { url: this.name });
      }
    }
    throw cause;
  }

  /** Writes what comes until all is there, and checks it. */
  async run() {
    try {
      for (let idle = 0; ; ) {
        const before = this.#have;
        const cause = await this.#drain();
        if (!cause) break;
        idle = this.#have > before ? 0 : idle + 1;
        if (idle >= ATTEMPTS) {
          throw new DownloadFailed(`${this.name}: the connection broke: ${cause.message}`, { url: this.name });
        }
        await this.#resume();
      }
      await this.#check();
    } catch (error) {
      await this.#fail(error);
    } finally {
      this.#close();
      this.#hash?.free();
    }
  }

  /** From here on reads wait for the end. */
  #close() {
    this.#handle?.close();
    this.#handle = undefined;
  }

  /** Reads a response to its end; what broke it, if something did. */
  async #drain() {
    const reader = this.#response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        this.#signal?.throwIfAborted();
        if (done) return undefined;
        this.#write(value);
      }
    } catch (error) {
      this.#signal?.throwIfAborted();
      reader.cancel().catch(() => {});
      // The disk is full, not the line broken.
      if (error.name === "QuotaExceededError") throw error;
      return error;
    }
  }

  #write(bytes) {
    this.#handle.write(bytes, { at: this.#have });
    this.#hash?.update(bytes);
    this.#have += bytes.length;
    this.#report();
    this.#waiting = this.#waiting.filter(({ end, resolve }) => end > this.#have || resolve());
  }

  #report() {
    this.#progress(this.name, this.#have, Math.max(this.length ?? 0, this.#have), false);
  }

  async #resume() {
    this.#response = await this.#ask(this.#have);
    const changed = !isSame(this.#record, { ...validators(this.#response), announced: this.#record.announced });
    if (changed || this.#response.status === 404) {
      await this.#drop();
      throw this.#damaged("its version", this.#record.etag ?? this.#record.modified, "another one");
    }
    if (this.#response.status === 200) {
      // Not resumed but begun again. What has been read stays: it is the same file.
      this.#have = 0;
      this.#hash?.free();
      this.#hash &&= new Sha256();
    }
  }

  /** Hashes what an earlier download has left. */
  #rehash() {
    const buffer = new Uint8Array(1 << 20);
    for (let at = 0; this.#hash && at < this.#have; ) {
      const n = this.#handle.read(buffer, { at });
      this.#hash.update(buffer.subarray(0, Math.min(n, this.#have - at)));
      at += n;
    }
  }

  async #check() {
    const { bytes, sha256 } = this.#expected;
    if (bytes !== undefined && this.#have !== bytes) {
      await this.#drop();
      throw this.#damaged("its length", bytes, this.#have);
    }
    const found = this.#hash?.finish();
    this.#hash = undefined;
    if (sha256 && found !== sha256) {
      await this.#drop();
      throw this.#damaged("its SHA-256", sha256, found);
    }
    this.#handle.truncate(this.#have);
    this.#handle.flush();
    this.#close();
    this.length = this.#have;
    await this.#entry.keep({ ...this.#record, length: this.#have, sha256: found, complete: true });
    this.#file = new BlobSource(this.name, await this.#entry.file());
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  async #drop() {
    this.#close();
    await this.#entry.remove();
  }

  #damaged(what, expected, found) {
    return new IntegrityError(`${this.name}: ${what}: expected ${expected}, found ${found}`, {
      url: this.name,
      what,
      expected,
      found,
    });
  }

  async #fail(error) {
    try {
      if (error.name !== "QuotaExceededError") throw error;
      await this.#drop();
      if (this.#expected.sha256) {
        throw new DownloadFailed(`${this.name}: the browser has no room to keep it`, { url: this.name });
      }
      this.#file = await openUncached(this.name, { signal: this.#signal, progress: this.#progress });
      for (const { resolve } of this.#waiting.splice(0)) resolve();
    } catch (final) {
      this.#error = final;
      for (const { reject } of this.#waiting.splice(0)) reject(final);
      throw final;
    }
  }

  async read(offset, length) {
    const end = offset + length;
    if (!this.#file && !this.#error && (!this.#handle || this.#have < end)) {
      await new Promise((resolve, reject) => this.#waiting.push({ end, resolve, reject }));
    }
    if (this.#error) throw this.#error;
    if (this.#file) return this.#file.read(offset, length);
    const bytes = new Uint8Array(length);
    this.#handle.read(bytes, { at: offset });
    return bytes;
  }
}

/** Waits for a lock that pages share; returns what gives it back. */
function lock(name, signal) {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(name, { signal }, () => new Promise((release) => resolve(release)));
    held.catch(reject);
  });
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
