// The package's types as a page uses them; compiled, never run.

import { ContextFull, Engine, cacheSize, clearCache, type ChatMessage, type Progress } from "../../js/index.js";

const onProgress = ({ phase, loaded, total }: Progress) => console.log(phase, loaded / total);
const engine = await Engine.load("hf:owner/name", { weights: "q4", onProgress, signal: AbortSignal.timeout(60_000) });
const messages: ChatMessage[] = [{ role: "user", content: "Hello" }];

const answer = await engine.chat.completions.create({ messages, temperature: 0.2, stop: "\n" });
const text: string = answer.choices[0].message.content;

for await (const chunk of await engine.chat.completions.create({ messages, stream: true })) {
  const piece: string | undefined = chunk.choices[0]?.delta.content;
  if (piece === text) break;
}

try {
  const { ids, routes } = await engine.generate([1, 2, 3], { maxTokens: 4, onToken: ({ token }) => console.log(token) });
  console.log(ids.length, routes?.compute, (await engine.routes())?.tokens[0].layers);
} catch (error) {
  if (error instanceof ContextFull) console.log(error.details);
}

// @ts-expect-error A format that there is not.
await Engine.load(undefined, { weights: "q3" });
// @ts-expect-error A request without messages.
await engine.chat.completions.create({ stream: true });

const picker = document.querySelector("input")!;
await Engine.load(picker.files!);
await engine.unload();
if ((await cacheSize()) > 0) await clearCache();
