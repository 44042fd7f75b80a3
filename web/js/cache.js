// Downloaded files in the browser's own file system: the bytes, and beside them a record of what they are.

const FOLDER = "deputy";

async function folder(create) {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create });
}

/** Whether there is such a file system; private windows of some browsers have none. */
export async function hasCache() {
  try {
    await folder(true);
    return true;
  } catch {
    return false;
  }
}

/** Bytes of everything that is kept, unfinished downloads included. */
export async function cacheSize() {
  let bytes = 0;
  try {
    for await (const handle of (await folder(false)).values()) {
      // A file may go away meanwhile.
      bytes += await handle.getFile().then((file) => file.size, () => 0);
    }
  } catch (error) {
    if (error.name !== "NotFoundError" && error.name !== "SecurityError") throw error;
  }
  return bytes;
}

/** Removes everything that is kept. Fails where another page is downloading into it. */
export async function clearCache() {
  const root = await navigator.storage.getDirectory();
  try {
    await root.removeEntry(FOLDER, { recursive: true });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
}

/** One file of the cache. Writing needs a worker. */
export class Entry {
  #folder;
  #key;

  static async of(url) {
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
    const hex = Array.from(new Uint8Array(hash, 0, 16), (byte) => byte.toString(16).padStart(2, "0"));
    return new Entry(await folder(true), hex.join(""));
  }

  constructor(folder, key) {
    this.#folder = folder;
    this.#key = key;
  }

  /** A name for locks. */
  get lock() {
    return `${FOLDER}/${this.#key}`;
  }

  /** What is known of the file: `{ url, length, etag, modified, announced, sha256, complete, absent }`. */
  async record() {
    try {
      const handle = await this.#folder.getFileHandle(`${this.#key}.json`);
      return JSON.parse(await (await handle.getFile()).text());
    } catch {
      return undefined; // None, or cut short while it was written.
    }
  }

  async keep(record) {
    const handle = await this.#open("json");
    try {
      handle.truncate(0);
      handle.write(new TextEncoder().encode(JSON.stringify(record)), { at: 0 });
      handle.flush();
    } finally {
      handle.close();
    }
  }

  /** The bytes, to be written; nobody else opens them meanwhile. */
  open() {
    return this.#open("data");
  }

  async #open(suffix) {
    const handle = await this.#folder.getFileHandle(`${this.#key}.${suffix}`, { create: true });
    return patiently(() => handle.createSyncAccessHandle());
  }

  /** The bytes; `undefined` where there are none. */
  async file() {
    try {
      return await (await this.#folder.getFileHandle(`${this.#key}.data`)).getFile();
    } catch (error) {
      if (error.name === "NotFoundError") return undefined;
      throw error;
    }
  }

  async remove() {
    for (const suffix of ["json", "data"]) {
      await patiently(() => this.#folder.removeEntry(`${this.#key}.${suffix}`)).catch((error) => {
        if (error.name !== "NotFoundError") throw error;
      });
    }
  }
}

/** A worker that was ended gives its files back a moment after its locks: what they keep from being done is tried again. */
async function patiently(act) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (error.name !== "NoModificationAllowedError" || tries === 40) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
