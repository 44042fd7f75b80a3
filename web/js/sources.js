// Files that are at hand: blobs, and ranges of a server's files where nothing can be kept.

import { DownloadFailed } from "./errors.js";

/** A blob or file; the browser reads it piece by piece. */
export class BlobSource {
  #blob;

  constructor(name, blob) {
    this.name = name;
    this.length = blob.size;
    this.#blob = blob;
  }

  async read(offset, length) {
    return new Uint8Array(await this.#blob.slice(offset, offset + length).arrayBuffer());
  }
}

/** A file on a server, read by ranges and kept nowhere. */
class RangeSource {
  #signal;

  constructor(url, length, signal) {
    this.name = url;
    this.length = length;
    this.#signal = signal;
  }

  async read(offset, length) {
    const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
    const response = await fetch(this.name, { headers, signal: this.#signal });
    if (response.status !== 206) throw refused(this.name, response.status);
    return new Uint8Array(await response.arrayBuffer());
  }
}

/** The file at `url` without a cache: by ranges where the server has them, else as a whole. */
export async function openUncached(url, { signal, progress }) {
  let response;
  try {
    response = await fetch(url, { headers: { Range: "bytes=0-0" }, signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw new DownloadFailed(`${url}: ${error.message}`, { url });
  }
  if (response.status === 404 || response.status === 410) return undefined;
  // An empty file has no first byte.
  if (!response.ok && response.status !== 416) throw refused(url, response.status);
  const total = response.headers.get("content-range")?.match(/\/(\d+)$/)?.[1];
  if (response.status === 206 && total !== undefined) {
    return new RangeSource(url, Number(total), signal);
  }
  const blob = response.status === 416 ? new Blob() : await response.blob();
  progress(url, blob.size, blob.size, false);
  return new BlobSource(url, blob);
}

function refused(url, status) {
  return new DownloadFailed(`${url}: the server answers ${status}`, { url, status });
}
