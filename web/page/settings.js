// The settings as the controls have them, remembered from visit to visit.

const KEPT = ["system", "temperature", "top-p", "max-tokens", "weights", "kv", "context", "url"];
const KEY = "deputy-settings";

const control = (id) => document.getElementById(id);

export function readSettings() {
  const number = (id) => (control(id).value === "" ? undefined : Number(control(id).value));
  return {
    system: control("system").value.trim(),
    temperature: number("temperature"),
    topP: number("top-p"),
    maxTokens: number("max-tokens"),
    effort: control("effort").disabled ? undefined : number("effort"),
    weights: control("weights").value,
    kv: control("kv").value,
    contextLength: number("context"),
  };
}

export function rememberSettings() {
  const values = Object.fromEntries(KEPT.map((id) => [id, control(id).value]));
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {
    // A private window: then they last as long as the page.
  }
}

try {
  const values = JSON.parse(localStorage.getItem(KEY) ?? "{}");
  for (const id of KEPT) {
    if (typeof values[id] === "string") control(id).value = values[id];
  }
} catch {
  // Likewise.
}
