// OpenAI's chat completions over the engine's answers.

import { InvalidRequest } from "./errors.js";

/** `chat.completions.create`, as OpenAI's clients have it. */
export class Chat {
  constructor(engine) {
    this.completions = { create: (request, options) => create(engine, request, options) };
  }
}

/** Their names for settings, and ours. */
const SETTINGS = {
  max_tokens: "maxTokens",
  max_completion_tokens: "maxTokens",
  temperature: "temperature",
  top_p: "topP",
  top_k: "topK",
  min_p: "minP",
  repeat_penalty: "repeatPenalty",
  seed: "seed",
  effort: "effort",
};

/** What may stand there as it does by default, and changes nothing. */
const NEUTRAL = { n: 1, frequency_penalty: 0, presence_penalty: 0, logprobs: false };

async function create(engine, request, { signal = request.signal } = {}) {
  const { messages, stream = false, stream_options, stop, model, user, signal: _, ...rest } = request;
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new InvalidRequest("messages: expected a list of messages");
  }
  const options = { signal, stop: [stop ?? []].flat(), seed: Math.floor(Math.random() * 2 ** 32) };
  for (const [key, value] of Object.entries(rest)) {
    if (value === undefined || value === null) continue;
    if (key in SETTINGS) options[SETTINGS[key]] = value;
    else if (NEUTRAL[key] !== value) throw new InvalidRequest(`${key} is not supported`);
  }
  const about = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: engine.info.model };
  if (stream) return chunks(engine, messages, options, about, stream_options?.include_usage ?? false);
  const answer = await engine.answer(messages, options);
  return {
    ...about,
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: answer.text, refusal: null },
        logprobs: null,
        finish_reason: finishReason(answer),
      },
    ],
    usage: usage(answer),
  };
}

/** An answer as it comes. Who stops listening ends it. */
async function* chunks(engine, messages, options, about, includeUsage) {
  const chunk = (choices, usage) => ({ ...about, object: "chat.completion.chunk", choices, ...(includeUsage && { usage }) });
  const choice = (delta, finish_reason = null) => [{ index: 0, delta, logprobs: null, finish_reason }];
  const controller = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
  const pieces = [];
  let wake = () => {};
  const onToken = ({ text }) => {
    if (text) pieces.push(text);
    wake();
  };
  let done = false;
  const answer = engine.answer(messages, { ...options, signal, onToken }).finally(() => {
    done = true;
    wake();
  });
  // Looked at below, unless nobody listens until then.
  answer.catch(() => {});
  try {
    yield chunk(choice({ role: "assistant", content: "" }), null);
    while (!done || pieces.length > 0) {
      if (pieces.length > 0) yield chunk(choice({ content: pieces.shift() }), null);
      else await new Promise((resolve) => (wake = resolve));
    }
    const whole = await answer;
    yield chunk(choice({}, finishReason(whole)), null);
    if (includeUsage) yield chunk([], usage(whole));
  } finally {
    controller.abort();
    await answer.catch(() => {});
  }
}

function finishReason({ stop }) {
  return stop === "length" || stop === "context_full" ? "length" : "stop";
}

/** OpenAI's counts, and under `extra` the engine's figures. */
function usage(answer) {
  return {
    prompt_tokens: answer.promptTokens,
    completion_tokens: answer.ids.length,
    total_tokens: answer.promptTokens + answer.ids.length,
    prompt_tokens_details: { cached_tokens: answer.cachedTokens },
    extra: {
      prefill_tokens_per_s: answer.prefillTokensPerSecond,
      decode_tokens_per_s: answer.decodeTokensPerSecond,
      time_to_first_token_s: answer.timeToFirstToken,
      routes: answer.routes && {
        attention_low: answer.routes.attentionLow,
        ffn_low: answer.routes.ffnLow,
        ffn_skipped: answer.routes.ffnSkipped,
        compute: answer.routes.compute,
      },
    },
  };
}
