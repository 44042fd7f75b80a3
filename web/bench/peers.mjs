// Other engines of a page on the same prompts, for speed.mjs: each is given a page of its own, loads there what
// `start` is told and answers with tokens a second. Their packages are nothing that deputy needs: FOLDER/node_modules
// has @huggingface/transformers and @wllama/wllama as npm installs them (`--ignore-scripts` will do), FOLDER/model
// a tokenizer, config.json and onnx/model_q4.onnx and model_quantized.onnx of the same shape, as ONNX Runtime GenAI's model
// builder writes them (`-p int4 -e webgpu --extra_options use_webgpu_fp32=true prune_lm_head=true`, and `-p fp32 -e cpu`
// through ONNX Runtime's quantize_dynamic), each in one file and with a number where the cache's last dimension has a name.

/** What Transformers.js makes of a model on `device`. Runs in the page. */
async function startTransformers({ device, dtype }) {
  const { AutoModelForCausalLM, Tensor, env } = await import("/peers/node_modules/@huggingface/transformers/dist/transformers.js");
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = "/peers/";
  env.useBrowserCache = false;
  env.backends.onnx.wasm.wasmPaths = "/peers/node_modules/onnxruntime-web/dist/";
  const model = await AutoModelForCausalLM.from_pretrained("model", { device, dtype });
  globalThis.answer = async (ids, maxTokens) => {
    const input_ids = new Tensor("int64", BigInt64Array.from(ids.map(BigInt)), [1, ids.length]);
    const attention_mask = new Tensor("int64", new BigInt64Array(ids.length).fill(1n), [1, ids.length]);
    const times = [performance.now()];
    let isPrompt = true; // Which a streamer is shown first.
    const streamer = {
      put: () => (isPrompt ? (isPrompt = false) : times.push(performance.now())),
      end: () => {},
    };
    const lengths = { min_new_tokens: maxTokens, max_new_tokens: maxTokens };
    await model.generate({ inputs: input_ids, attention_mask, do_sample: false, ...lengths, streamer });
    return { prefill: (1000 * ids.length) / (times[1] - times[0]), decode: (1000 * (times.length - 2)) / (times.at(-1) - times[1]) };
  };
}

/** What wllama makes of a file with `threads` threads. Runs in the page. */
async function startWllama({ file, threads }) {
  const { Wllama, LoggerWithoutDebug } = await import("/peers/node_modules/@wllama/wllama/esm/index.js");
  const quiet = { suppressNativeLog: true, logger: LoggerWithoutDebug };
  const wllama = new Wllama({ default: "/peers/node_modules/@wllama/wllama/esm/wasm/wllama.wasm" }, quiet);
  const bytes = await (await fetch(file)).blob();
  await wllama.loadModel([bytes], { n_ctx: 1024, n_threads: threads, n_gpu_layers: 0 });
  // It takes text. Letters are about a token each in a vocabulary that no text has trained.
  globalThis.answer = async (ids, max_tokens) => {
    const prompt = ids.map((id) => String.fromCharCode(97 + (id % 26))).join("");
    const { timings } = await wllama.createCompletion({ prompt, max_tokens, temperature: 0, ignore_eos: true, cache_prompt: false });
    return { prefill: timings.prompt_per_second, decode: timings.predicted_per_second };
  };
}

/** The engines and what they are started with. `file` is where the server has the GGUF file. */
export const peers = (file) => [
  { name: "Transformers.js, WebGPU, q4", start: startTransformers, what: { device: "webgpu", dtype: "q4" } },
  { name: "Transformers.js, wasm, q8", start: startTransformers, what: { device: "wasm", dtype: "q8" } },
  { name: "wllama, wasm, one thread", start: startWllama, what: { file, threads: 1 } },
  { name: "wllama, wasm, two threads", start: startWllama, what: { file, threads: 2 } },
];
