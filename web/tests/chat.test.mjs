// The engine's calls, on one page with the default model.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open, server } from "./support.mjs";

let browser, site, page;
before(async () => {
  [browser, site] = await Promise.all([launch(), server()]);
  page = await open(browser, site.url);
  await page.evaluate(async () => {
    globalThis.engine = await deputy.Engine.load();
    globalThis.ask = (content, more) => engine.chat.completions.create({ messages: [{ role: "user", content }], temperature: 0, ...more });
    /** What a promise is rejected with. */
    globalThis.failure = (promise) => promise.then(() => null, ({ name, message, details }) => ({ name, message, details }));
    globalThis.STORY = "Tell me a story about a fox.";
  });
});
after(async () => {
  await browser?.close();
  site?.close();
});

test("an answer has OpenAI's shape", async () => {
  const answer = await page.evaluate(() => ask("What is the capital of France?"));
  assert.equal(answer.object, "chat.completion");
  assert.match(answer.id, /^chatcmpl-/);
  assert.ok(Math.abs(answer.created - Date.now() / 1000) < 60);
  assert.deepEqual(Object.keys(answer.choices[0]).sort(), ["finish_reason", "index", "logprobs", "message"]);
  assert.equal(answer.choices[0].message.content, "The capital of France is Paris.");
  assert.equal(answer.choices[0].finish_reason, "stop");
  const { usage } = answer;
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  for (const key of ["prefill_tokens_per_s", "decode_tokens_per_s", "time_to_first_token_s"]) {
    assert.ok(usage.extra[key] > 0, key);
  }
  const { routes } = usage.extra;
  assert.ok(routes.compute > 0.3 && routes.compute < 1, `compute ${routes.compute}`);
});

test("chunks have OpenAI's shape and make the same text", async () => {
  const [whole, chunks] = await page.evaluate(async () => {
    const whole = await ask(STORY, { max_tokens: 20 });
    const chunks = [];
    for await (const chunk of await ask(STORY, { max_tokens: 20, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    return [whole, chunks];
  });
  assert.ok(chunks.length > 10, `${chunks.length} chunks`);
  assert.ok(chunks.every((chunk) => chunk.object === "chat.completion.chunk" && chunk.id === chunks[0].id));
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(chunks.at(-2).choices[0].finish_reason, "length");
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 20);
});

test("stop strings end an answer and are not part of it", async () => {
  const answer = await page.evaluate(() => ask("What is the capital of France?", { stop: " France" }));
  assert.equal(answer.choices[0].message.content, "The capital of");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("a seed repeats, another does not", async () => {
  const texts = await page.evaluate(async () => {
    const texts = [];
    for (const seed of [1, 1, 2, 3]) {
      const answer = await ask(STORY, { temperature: 1, max_tokens: 16, seed });
      texts.push(answer.choices[0].message.content);
    }
    return texts;
  });
  assert.equal(texts[0], texts[1]);
  assert.ok(texts[0] !== texts[2] || texts[0] !== texts[3], "three seeds, one text");
});

test("the second turn computes only its new tokens", async () => {
  const [first, second, fresh] = await page.evaluate(async () => {
    await engine.reset();
    const messages = [{ role: "user", content: "My name is Anna and I like pears." }];
    const turn = () => engine.chat.completions.create({ messages, temperature: 0 });
    const first = await turn();
    messages.push(first.choices[0].message, { role: "user", content: "What is my name?" });
    const second = await turn();
    await engine.reset();
    return [first, second, await turn()];
  });
  const cached = (answer) => answer.usage.prompt_tokens_details.cached_tokens;
  assert.equal(cached(first), 0);
  const known = first.usage.prompt_tokens + first.usage.completion_tokens;
  assert.ok(cached(second) >= known - 1, `${cached(second)} of ${known} known tokens were in the cache`);
  assert.equal(cached(fresh), 0);
  assert.equal(second.choices[0].message.content, "Your name is Anna.");
  assert.equal(second.choices[0].message.content, fresh.choices[0].message.content);
});

test("an abort ends the answer within two tokens", async () => {
  const { failure, after } = await page.evaluate(async () => {
    const controller = new AbortController();
    let after = 0;
    let seen = 0;
    const onToken = () => {
      if (controller.signal.aborted) after++;
      if (++seen === 5) controller.abort();
    };
    const messages = [{ role: "user", content: STORY }];
    const answer = engine.answer(messages, { signal: controller.signal, onToken });
    return { failure: await failure(answer), after };
  });
  assert.equal(failure.name, "AbortError");
  assert.ok(after <= 2, `${after} tokens after the abort`);
});

test("who stops listening ends the answer, and the next one is whole", async () => {
  const { n, routes, next } = await page.evaluate(async () => {
    let n = 0;
    for await (const chunk of await ask(STORY, { stream: true })) {
      if (++n === 6) break;
    }
    const routes = await engine.routes();
    return { n, routes, next: await ask("What is the capital of France?") };
  });
  assert.equal(n, 6);
  // The prompt has 16 tokens or so; the whole story has a hundred more.
  assert.ok(routes.tokens.length < 40, `${routes.tokens.length} tokens were computed`);
  assert.equal(next.choices[0].message.content, "The capital of France is Paris.");
});

test("calls that wait for their turn can be aborted", async () => {
  const { waiting, first } = await page.evaluate(async () => {
    const controller = new AbortController();
    const first = ask("What is the capital of France?");
    const waiting = failure(ask(STORY, { signal: controller.signal }));
    controller.abort(new Error("not needed any more"));
    return { waiting: await waiting, first: await first };
  });
  assert.equal(waiting.message, "not needed any more");
  assert.equal(first.choices[0].message.content, "The capital of France is Paris.");
});

test("wrong requests are named", async () => {
  const failures = await page.evaluate(async () => ({
    long: await failure(ask("word ".repeat(3000))),
    tools: await failure(ask("Hello", { tools: [{}] })),
    n: await failure(ask("Hello", { n: 2 })),
    temperature: await failure(ask("Hello", { temperature: -1 })),
    effort: await failure(ask("Hello", { effort: 2 })),
    empty: await failure(engine.chat.completions.create({ messages: [] })),
    option: await failure(deputy.Engine.load(undefined, { weight: "q8" })),
  }));
  assert.equal(failures.long.name, "ContextFull");
  assert.match(failures.long.message, /1024/);
  for (const key of ["tools", "n", "temperature", "effort", "empty", "option"]) {
    assert.equal(failures[key].name, "InvalidRequest", key);
  }
  assert.match(failures.tools.message, /tools/);
});

test("text becomes ids and text again", async () => {
  const [ids, text, special] = await page.evaluate(async () => {
    const ids = await engine.tokenize("Hello, world!");
    return [ids, await engine.detokenize(ids), await engine.tokenize("<|im_end|>", { special: true })];
  });
  assert.ok(ids.length > 2 && ids.every(Number.isInteger));
  assert.equal(text, "Hello, world!");
  assert.ok(special.length >= 1);
});

test("routes name the path of each token", async () => {
  const { routes, full, info } = await page.evaluate(async () => {
    await engine.reset();
    await engine.generate("Once upon a time", { maxTokens: 8, temperature: 0, effort: 0.1 });
    const routes = await engine.routes();
    await engine.reset();
    await engine.generate("Once upon a time", { maxTokens: 8, temperature: 0, effort: 1 });
    return { routes, full: await engine.routes(), info: engine.info };
  });
  assert.ok(routes.tokens.length >= 8);
  assert.ok(routes.tokens.every(({ layers }) => layers.length === info.layers));
  assert.ok(routes.tokens.every(({ layers }) => layers.every((path) => /^[fl][fls]$/.test(path))));
  assert.ok(routes.shares.compute < 0.8, `compute ${routes.shares.compute}`);
  assert.equal(full.shares.compute, 1);
});

test("a device that is lost amid an answer is opened again, and the answer goes on", async () => {
  const { expected, found, events, next } = await page.evaluate(async () => {
    const messages = [{ role: "user", content: STORY }];
    const options = { maxTokens: 40, temperature: 0 };
    const expected = (await engine.answer(messages, options)).ids;
    await engine.reset();
    const events = [];
    for (const type of ["devicelost", "devicerestored"]) engine.addEventListener(type, () => events.push(type));
    let n = 0;
    const onToken = () => {
      if (++n === 10) engine.loseDevice();
    };
    const found = (await engine.answer(messages, { ...options, onToken })).ids;
    return { expected, found, events, next: await ask("What is the capital of France?") };
  });
  assert.deepEqual(found, expected);
  assert.deepEqual(events, ["devicelost", "devicerestored"]);
  assert.equal(next.choices[0].message.content, "The capital of France is Paris.");
});

test("after unloading every call fails", async () => {
  const { pending, later } = await page.evaluate(async () => {
    const pending = engine.answer([{ role: "user", content: STORY }], { temperature: 0 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await engine.unload();
    return { pending: (await pending).stop, later: await failure(engine.tokenize("Hello")) };
  });
  assert.equal(pending, "cancelled");
  assert.equal(later.name, "AbortError");
});
