// A static server that counts requests, knows ranges and ETags, and misbehaves where it is told to.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
};

/**
 * Serves `roots`, folders by the first part of a path. `requests` has method and path of each request;
 * `faults` by path what is wrong with a file: a function of its bytes, or `{ cut }`, the bytes after which the
 * connection breaks, `{ slow }`, milliseconds before each 64 KiB, `{ status }`, or `{ times }` how often at all.
 * `everywhere` are headers of every answer.
 */
export async function serve(roots, everywhere = {}) {
  const requests = [];
  const faults = new Map();
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    requests.push({ method: request.method, path, range: request.headers.range });
    const [, first, ...rest] = normalize(path).split("/");
    const file = roots[first] ? join(roots[first], ...rest) : join(roots[""], first, ...rest);
    let bytes;
    try {
      bytes = await readFile(path.endsWith("/") ? join(file, "index.html") : file);
    } catch {
      response.writeHead(404).end();
      return;
    }
    let fault = faults.get(path) ?? {};
    if (fault.times !== undefined && fault.times-- <= 0) fault = {};
    if (typeof fault === "function") bytes = fault(bytes);
    if (fault.status) {
      response.writeHead(fault.status).end();
      return;
    }
    const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;
    const headers = { "content-type": TYPES[extname(path)] ?? "application/octet-stream", etag, "cache-control": "no-cache", ...everywhere };
    const from = Number(request.headers.range?.match(/^bytes=(\d+)-/)?.[1] ?? 0);
    const to = Number(request.headers.range?.match(/-(\d+)$/)?.[1] ?? bytes.length - 1);
    const part = bytes.subarray(from, to + 1);
    const range = request.headers.range && { "content-range": `bytes ${from}-${to}/${bytes.length}` };
    response.writeHead(range ? 206 : 200, { ...headers, ...range, "content-length": part.length });
    if (request.method === "HEAD") {
      response.end();
    } else if (fault.cut !== undefined && fault.cut < part.length) {
      response.write(part.subarray(0, fault.cut), () => setTimeout(() => response.destroy(), 50));
    } else if (fault.slow !== undefined) {
      for (let at = 0; at < part.length && !response.destroyed; at += 1 << 16) {
        await new Promise((resolve) => setTimeout(resolve, fault.slow));
        response.write(part.subarray(at, at + (1 << 16)));
      }
      response.end();
    } else {
      response.end(part);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const close = () => (server.closeAllConnections(), server.close());
  return { url, requests, faults, close };
}
