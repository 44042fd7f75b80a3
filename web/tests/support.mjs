// What the tests share: a browser, a server, and the native engine that says what is right.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

export const web = fileURLToPath(new URL("..", import.meta.url));
export const root = join(web, "..");
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const deputy = process.env.DEPUTY ?? join(target, "debug/deputy");
export const models = join(root, "tests/data/models");

/** A folder for models that a test makes; it goes with the process. */
export const made = mkdtempSync(join(tmpdir(), "deputy-web-"));
process.on("exit", () => rmSync(made, { recursive: true, force: true }));

const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

/** A software adapter, so that every machine computes alike. */
export const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Milliseconds that a busy machine may take for anything that a test waits for. */
const PATIENCE = 300_000;

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch(flags = WEBGPU) {
  const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
  return chromium.launch({ executablePath, args: [...FLAGS, ...flags], timeout: PATIENCE });
}

/** The package and the test models on a server. */
export function server() {
  return serve({ "": web, models, made, shared: sharedModels() ?? "/nowhere" });
}

/** The larger models beside the repository, where they are. */
export function sharedModels() {
  const folder = join(root, "../shared/models");
  return existsSync(folder) ? folder : undefined;
}

/** A page with the package as `deputy` in it, in a profile of its own. */
export async function open(browser, url, path = "/tests/blank.html") {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(`page: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (message.type() === "error") console.error(`console: ${message.text()}`);
  });
  await page.goto(url + path);
  return page;
}

/** Runs the native engine on the CPU: what it prints. */
export function run(command, ...args) {
  const line = [command, ...args, "--device", "cpu"];
  return execFileSync(deputy, line, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** What the native engine answers: its JSON. */
export function native(args) {
  return JSON.parse(run("generate", ...args, "--temp", "0", "--json"));
}

export function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
