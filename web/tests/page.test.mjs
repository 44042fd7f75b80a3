// The page as a visitor uses it.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { launch, models, open, server } from "./support.mjs";

let browser, site, page;
before(async () => {
  [browser, site] = await Promise.all([launch(), server()]);
  page = await open(browser, site.url, "/index.html");
  // Keeps the worker's device at hand.
  await page.route("**/js/worker.js", async (route) => {
    const response = await route.fetch();
    const body = `${await response.text()}
      const { requestDevice } = GPUAdapter.prototype;
      GPUAdapter.prototype.requestDevice = async function (descriptor) {
        return (self.opened = await requestDevice.call(this, descriptor));
      };`;
    await route.fulfill({ response, body });
  });
});
after(async () => {
  await browser?.close();
  site?.close();
});

/** Sets a slider. */
const slide = (id, value) =>
  page.evaluate(([id, value]) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event("input", { bubbles: true }));
  }, [id, value]);

const say = async (text) => {
  await page.fill("#question", text);
  await page.press("#question", "Enter");
};
const answered = () => page.waitForSelector("#stop", { state: "hidden" });
const last = (selector = ".text") => page.locator(`#messages li.assistant ${selector}`).last().textContent();

test("the default model is loaded and talks", async () => {
  await page.click("#load-default");
  await page.waitForSelector("#loading progress");
  await page.waitForSelector("#question:enabled");
  assert.match(await page.textContent("#notice"), /processor.*swiftshader/is);
  await slide("temperature", 0);
  await say("My name is Anna and I like pears.");
  await answered();
  await say("What is my name?");
  await answered();
  assert.equal(await last(), "Your name is Anna.");
  const figures = await last(".about");
  assert.match(figures, /\d tok\/s/);
  assert.match(figures, /first after/);
  assert.match(figures, /remembered/);
});

test("the paths of the last answer are drawn", async () => {
  await page.click(".about button");
  await page.waitForSelector("#paths[open]");
  const tokens = await page.locator("#paths-table thead th").allTextContents();
  assert.equal(tokens.join("").replaceAll("␣", " "), "Your name is Anna.");
  const rows = await page.locator("#paths-table tbody tr").count();
  assert.equal(rows, 12, "attention and FFN of six layers");
  assert.equal(await page.locator("#paths-table td:not(.f):not(.l):not(.s)").count(), 0);
  await page.click("#paths button");
});

test("an answer can be stopped, and a new chat forgets", async () => {
  await say("Tell me a story about a fox.");
  await page.waitForFunction(() => document.querySelector("#messages li:last-child .text").textContent.length > 20);
  await page.click("#stop");
  await answered();
  const text = await last();
  assert.ok(text.length > 20 && !text.includes("end of the story"), text);
  await page.click("#new-chat");
  assert.equal(await page.locator("#messages li").count(), 0);
  await say("What is the capital of France?");
  await answered();
  assert.equal(await last(), "The capital of France is Paris.");
});

test("a lost device is told of, and the answer goes on", async () => {
  await page.click("#new-chat");
  const told = page.waitForSelector("#notice strong:text('The GPU was reset')");
  await say("Tell me a story about a fox.");
  await page.waitForFunction(() => document.querySelector("#messages li:last-child .text").textContent.length > 20);
  // As a crashed driver would: nobody asks the engine.
  await page.workers()[0].evaluate(() => self.opened.destroy());
  await told;
  await answered();
  assert.equal(await page.isVisible("#notice"), false);
  const text = await last();
  await page.click("#new-chat");
  await say("Tell me a story about a fox.");
  await answered();
  assert.equal(text, await last());
});

test("text is never taken for HTML", async () => {
  await page.click("#new-chat");
  await say("<img src=x onerror='window.harmed = true'><b>Hello</b>");
  await answered();
  assert.equal(await page.locator("#messages img, #messages b").count(), 0);
  assert.match(await page.locator("#messages li.user .text").last().textContent(), /<b>Hello<\/b>/);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
});

test("nothing is wider than a phone", async () => {
  await page.setViewportSize({ width: 360, height: 640 });
  for (const open of [false, true]) {
    if (open) await page.click("#toggle-settings");
    const [width, send] = await page.evaluate(() => [document.documentElement.scrollWidth, document.getElementById("send").getBoundingClientRect().right]);
    assert.ok(width <= 360 && send <= 360, `${width}, ${send}`);
  }
  await page.setViewportSize({ width: 1100, height: 800 });
});

test("settings show the device and clear the downloads", async () => {
  assert.match(await page.textContent("#facts"), /swiftshader/);
  assert.match(await page.textContent("#cache-size"), /[78]\.\d MB/);
  await page.click("#clear-cache");
  await page.waitForFunction(() => document.getElementById("cache-size").textContent === "0 B");
});

test("a picked folder is loaded, and what is no model explained", async () => {
  await page.setInputFiles("#pick-file", join(models, "qwen3/golden.json"));
  await page.waitForSelector("#notice strong:text('This model cannot be run')");
  const folder = join(models, "qwen3");
  const names = readdirSync(folder).filter((name) => /^(config|model|tokenizer|chat|generation)/.test(name) && !name.endsWith(".gguf"));
  await page.setInputFiles("#pick-file", names.map((name) => join(folder, name)));
  await page.waitForSelector("#question:enabled");
  assert.match(await page.textContent("#facts"), /qwen3/);
});

test("the example of thirty lines tells a story", async () => {
  const example = await open(browser, site.url, "/examples/story.html");
  await example.click("button:enabled");
  await example.waitForFunction(() => document.querySelector("#story").textContent.split(" ").length > 8);
  assert.match(await example.textContent("#story"), /^[A-Z]/);
  await example.context().close();
});

test("without an adapter the page says what to do", async () => {
  const plain = await launch([]);
  try {
    const other = await open(plain, site.url, "/index.html?model=");
    await other.waitForSelector("#notice:visible");
    const text = await other.textContent("#notice");
    assert.match(text, /Chrome and Edge/);
    assert.match(text, /--enable-unsafe-webgpu/);
  } finally {
    await plain.close();
  }
});
