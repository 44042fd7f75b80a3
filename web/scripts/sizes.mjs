// Prints what the package weighs, and fails where that is more than it may.

import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";

const web = fileURLToPath(new URL("..", import.meta.url));
const MIB = 1 << 20;
/** Compressed with brotli. */
const LIMITS = { wasm: 3 * MIB, package: 4 * MIB };

function measure(folder, names) {
  return names.map((name) => {
    const bytes = readFileSync(join(web, folder, name));
    return { name: `${folder}/${name}`, raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes).length };
  });
}

const files = (folder) => readdirSync(join(web, folder), { withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => entry.name);
const rows = [...measure("dist", files("dist")), ...measure("js", files("js"))];
const sum = (rows) => rows.reduce((all, { raw, gzip, brotli }) => ({ raw: all.raw + raw, gzip: all.gzip + gzip, brotli: all.brotli + brotli }), { raw: 0, gzip: 0, brotli: 0 });
const total = { name: "the package without the model", ...sum(rows) };
// Quantised numbers do not compress.
const model = files("dist/model").reduce((n, name) => n + statSync(join(web, "dist/model", name)).size, 0);

const cell = (bytes) => bytes.toLocaleString("en").padStart(12);
console.log(`${"bytes".padEnd(32)}${["raw", "gzip", "brotli"].map((head) => head.padStart(12)).join("")}`);
for (const { name, raw, gzip, brotli } of [...rows, total]) {
  console.log(`${name.padEnd(32)}${cell(raw)}${cell(gzip)}${cell(brotli)}`);
}
console.log(`${"the default model".padEnd(32)}${cell(model)}`);
const wasm = rows.find(({ name }) => name.endsWith(".wasm"));
for (const [what, { brotli }, limit] of [["the wasm", wasm, LIMITS.wasm], ["the package", total, LIMITS.package]]) {
  if (brotli > limit) {
    console.error(`${what} has ${brotli} bytes in brotli, more than ${limit}`);
    process.exitCode = 1;
  }
}
