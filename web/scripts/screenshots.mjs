// Takes the pictures of the page that the README shows: `node web/scripts/screenshots.mjs`.

import { join } from "node:path";
import { launch, root, server } from "../tests/support.mjs";

const site = await server();
const browser = await launch();

async function shoot(name, { width, height, dark = false, settings = false, paths = false }) {
  const colorScheme = dark ? "dark" : "light";
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, deviceScaleFactor: width < 500 ? 2 : 1 });
  const page = await context.newPage();
  await page.goto(`${site.url}/index.html?model=`);
  await page.waitForSelector("#question:enabled", { timeout: 120_000 });
  // What the software adapter of these pictures is told is no part of them.
  await page.evaluate(() => (document.getElementById("notice").hidden = true));
  await page.evaluate(() => {
    const temperature = document.getElementById("temperature");
    temperature.value = 0;
    temperature.dispatchEvent(new Event("input", { bubbles: true }));
  });
  for (const question of ["My name is Anna and I like pears.", "What is the capital of France?", "What is my name?"]) {
    await page.fill("#question", question);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#stop", { state: "hidden", timeout: 120_000 });
  }
  if (settings) await page.click("#toggle-settings");
  if (paths) {
    await page.click(".about button");
    await page.waitForSelector("#paths[open]");
  }
  await page.screenshot({ path: join(root, `docs/web-${name}.png`) });
  await context.close();
}

await shoot("desktop", { width: 1180, height: 760, settings: true });
await shoot("dark", { width: 1180, height: 760, dark: true, paths: true });
await shoot("phone", { width: 390, height: 780 });
await browser.close();

const plain = await launch([]);
const page = await plain.newPage({ viewport: { width: 900, height: 560 } });
await page.goto(`${site.url}/index.html?model=`);
await page.waitForSelector("#notice:visible");
await page.screenshot({ path: join(root, "docs/web-error.png") });
await plain.close();
site.close();
