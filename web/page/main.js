// The chat page: elements, and what happens to them. Everything else is the package's.

import { Engine, cacheSize, clearCache } from "../js/index.js";
import { explain } from "./failures.js";
import { bytes, percent, rate, seconds } from "./format.js";
import { draw } from "./paths.js";
import { readSettings, rememberSettings } from "./settings.js";

const $ = (id) => document.getElementById(id);

let engine;
let messages = [];
/** Ends what is under way: a load, an answer. */
let loading;
let answering;
let lastSource;

// Loading.

async function load(source) {
  loading?.abort();
  answering?.abort();
  const controller = new AbortController();
  loading = controller;
  lastSource = source;
  hideNotice();
  $("welcome").hidden = true;
  $("loading").hidden = false;
  showProgress({ phase: "start", loaded: 0, total: 0 });
  const old = engine;
  setEngine(undefined);
  try {
    await old?.unload();
    const { weights, kv, contextLength } = readSettings();
    const loaded = await Engine.load(source, { weights, kv, contextLength, signal: controller.signal, onProgress: showProgress });
    setEngine(loaded);
    // So that the browser does not throw downloads away when it needs room; it may refuse.
    navigator.storage?.persist?.();
  } catch (error) {
    if (!controller.signal.aborted) showFailure(error, [["Try again", () => load(lastSource)]]);
    else $("welcome").hidden = messages.length > 0;
  } finally {
    if (loading === controller) {
      loading = undefined;
      $("loading").hidden = true;
    }
    showCacheSize();
  }
}

const PHASES = { start: "Starting", download: "Downloading", weights: "Moving the weights to the GPU", kernels: "Compiling for this GPU", ready: "Ready" };

function showProgress({ phase, loaded, total, fromCache }) {
  const bar = $("loading-bar");
  const local = phase === "download" && fromCache === total;
  $("loading-phase").textContent = local ? "Reading what was downloaded" : PHASES[phase];
  $("loading-bytes").textContent = total > 1 ? `${bytes(loaded)} of ${bytes(total)}` : "";
  if (phase === "kernels" || total === 0) bar.removeAttribute("value");
  else bar.value = loaded / total;
}

function setEngine(loaded) {
  engine = loaded;
  for (const id of ["question", "send", "new-chat"]) $(id).disabled = !engine;
  $("effort").disabled = !engine?.info.routed;
  $("model-name").textContent = engine ? modelName() : "no model is loaded";
  showFacts();
  if (!engine) return;
  if (engine.info.routed) $("effort").value = engine.info.defaultEffort;
  showOutputs();
  engine.addEventListener("devicelost", () => {
    showNotice("The GPU was reset", ["The model is loaded again from what was downloaded; the conversation goes on."], [], true);
  });
  engine.addEventListener("devicerestored", hideNotice);
  if (engine.info.adapter.software) {
    showNotice(
      "This browser computes on the processor",
      [`Its adapter is ${engine.info.adapter.name}: everything works, slowly. With hardware acceleration on in the browser's settings a GPU would be used.`],
      [],
      true,
    );
  }
  $("question").focus();
}

function modelName() {
  const parts = engine.info.model.replace(/\/resolve\/main\/$|\/$/, "").split("/");
  return engine.info.model.includes("/dist/model/") ? "the default model" : parts.slice(-2).join("/");
}

// Answering.

async function ask(text) {
  hideNotice();
  messages.push({ role: "user", content: text });
  addMessage("user", text);
  const item = addMessage("assistant", "");
  item.classList.add("waiting");
  const controller = new AbortController();
  answering = controller;
  setBusy(true);
  let answer = "";
  try {
    const usage = await stream(controller.signal, (piece, figures) => {
      answer += piece;
      show(item, answer);
      $("figures").textContent = figures;
    });
    addFigures(item, usage);
  } catch (error) {
    if (!controller.signal.aborted) {
      showFailure(error, [["New chat", newChat]]);
      // The question was not answered: it can be asked again.
      if (!answer) {
        messages.pop();
        item.previousElementSibling?.remove();
        item.remove();
        $("question").value = text;
      }
    }
  } finally {
    if (answer) messages.push({ role: "assistant", content: answer });
    item.classList.remove("waiting");
    if (!answer) item.remove();
    if (answering === controller) {
      answering = undefined;
      setBusy(false);
    }
  }
}

/** Asks for an answer, hands out its text with live figures, and returns its usage. */
async function stream(signal, onPiece) {
  const { system, temperature, topP, maxTokens, effort } = readSettings();
  const chat = system ? [{ role: "system", content: system }, ...messages] : messages;
  const request = { messages: chat, stream: true, stream_options: { include_usage: true }, temperature, top_p: topP, max_tokens: maxTokens, effort, signal };
  const start = performance.now();
  let first;
  let n = 0;
  let usage;
  for await (const chunk of await engine.chat.completions.create(request)) {
    usage = chunk.usage ?? usage;
    const piece = chunk.choices[0]?.delta.content;
    if (!piece) continue;
    const now = performance.now();
    first ??= now;
    const figures = [`first token after ${seconds((first - start) / 1000)}`];
    if (n > 0) figures.push(rate(n / ((now - first) / 1000)));
    n++;
    onPiece(piece, figures.join(" · "));
  }
  return usage;
}

function addMessage(role, text) {
  const item = document.createElement("li");
  item.className = role;
  const body = document.createElement("div");
  body.className = "text";
  // Never as HTML: what a model says is anybody's text.
  body.textContent = text;
  item.append(body);
  $("messages").append(item);
  toEnd();
  return item;
}

function show(item, text) {
  const box = $("conversation");
  const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  item.querySelector(".text").textContent = text;
  if (follows) toEnd();
}

function toEnd() {
  $("conversation").scrollTop = $("conversation").scrollHeight;
}

function addFigures(item, usage) {
  const { extra } = usage;
  const about = document.createElement("div");
  about.className = "about";
  const parts = [
    `${usage.completion_tokens} tokens`,
    rate(extra.decode_tokens_per_s),
    `first after ${seconds(extra.time_to_first_token_s)}`,
  ];
  if (usage.prompt_tokens_details.cached_tokens) parts.push(`${usage.prompt_tokens_details.cached_tokens} remembered`);
  if (extra.routes) parts.push(`${percent(extra.routes.compute)} computed`);
  about.append(...parts.map((part) => Object.assign(document.createElement("span"), { textContent: part })));
  if (extra.routes) {
    for (const other of document.querySelectorAll(".about button")) other.remove();
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "paths" });
    button.addEventListener("click", () => showPaths(usage.prompt_tokens));
    about.append(button);
  }
  item.append(about);
  $("figures").textContent = "";
  showFacts();
  toEnd();
}

async function showPaths(from) {
  const routes = await engine.routes();
  draw($("paths-table"), $("paths-summary"), { ...routes, tokens: routes.tokens.slice(from) });
  $("paths").showModal();
}

function setBusy(busy) {
  $("stop").hidden = !busy;
  $("send").hidden = busy;
  $("new-chat").disabled = busy || !engine;
}

function newChat() {
  messages = [];
  $("messages").replaceChildren();
  $("figures").textContent = "";
  hideNotice();
  $("question").focus();
}

// What is shown beside the conversation.

function showFailure(error, actions) {
  const { title, advice } = explain(error, engine?.info);
  showNotice(title, advice, actions);
}

function showNotice(title, paragraphs, actions, mild = false) {
  const notice = $("notice");
  const add = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  notice.replaceChildren(add("strong", title), ...paragraphs.map((text) => add("p", text)));
  if (actions.length > 0) {
    const row = add("div", "");
    row.className = "row";
    for (const [label, act] of actions) {
      const button = add("button", label);
      button.type = "button";
      button.addEventListener("click", act);
      row.append(button);
    }
    notice.append(row);
  }
  notice.classList.toggle("mild", mild);
  notice.hidden = false;
}

function hideNotice() {
  $("notice").hidden = true;
}

async function showFacts() {
  const facts = $("facts");
  if (!engine) {
    facts.replaceChildren();
    return;
  }
  const { adapter, bytes: on, architecture, contextLength, wasmBytes } = await engine.refresh();
  const rows = [
    ["Adapter", adapter.name],
    ["Subgroups", adapter.subgroups ? `of ${adapter.subgroups}` : "none"],
    ["Model", `${architecture}, ${contextLength} tokens of context`],
    ["On the GPU", `${bytes(on.weights)} weights, ${bytes(on.cache)} cache, ${bytes(on.activations)} else`],
    ["In the page", bytes(wasmBytes)],
  ];
  facts.replaceChildren(...rows.flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value }),
  ]));
}

async function showCacheSize() {
  $("cache-size").textContent = bytes(await cacheSize().catch(() => 0));
}

function showOutputs() {
  for (const output of document.querySelectorAll("output")) {
    output.textContent = $(output.htmlFor[0]).value;
  }
}

function toggleSettings(open = $("settings").hidden) {
  $("settings").hidden = !open;
  $("toggle-settings").setAttribute("aria-expanded", open);
  $("toggle-settings").textContent = open ? "Close settings" : "Settings";
}

// What the visitor does.

$("load-default").addEventListener("click", () => load());
$("choose-model").addEventListener("click", () => {
  toggleSettings(true);
  $("url").focus();
});
$("load-url").addEventListener("click", () => {
  if (matchMedia("(max-width: 48rem)").matches) toggleSettings(false);
  load($("url").value.trim() || undefined);
});
for (const id of ["pick-folder", "pick-file"]) {
  $(id).addEventListener("change", ({ target }) => {
    const files = [...target.files];
    target.value = "";
    if (matchMedia("(max-width: 48rem)").matches) toggleSettings(false);
    if (files.length > 0) load(files);
  });
}
$("cancel-load").addEventListener("click", () => loading?.abort());
$("new-chat").addEventListener("click", newChat);
$("toggle-settings").addEventListener("click", () => toggleSettings());
$("stop").addEventListener("click", () => answering?.abort());
$("clear-cache").addEventListener("click", async () => {
  try {
    await clearCache();
  } catch (error) {
    showNotice("The downloads could not be removed", ["Another page uses them. Close it, and try again."], []);
  }
  showCacheSize();
});
$("settings").addEventListener("input", () => {
  showOutputs();
  rememberSettings();
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("question").value.trim();
  if (!text || !engine || answering) return;
  $("question").value = "";
  ask(text);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("paths").open) answering?.abort();
});

showOutputs();
showCacheSize();
const wanted = new URLSearchParams(location.search).get("model");
if (wanted !== null) {
  $("url").value = wanted;
  load(wanted || undefined);
}
