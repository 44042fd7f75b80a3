/** Language models on the visitor's own GPU, from plain Hugging Face folders and GGUF files. */

/** Where a model is: an address, picked files, or the handle of a picked folder or file. */
export type Source =
  /** Of a folder, or of a `.gguf` file. `hf:owner/name` is a repository of the Hugging Face hub. */
  | string
  | URL
  /** One GGUF file, or the files of a folder. */
  | Blob
  | Iterable<Blob>
  | ArrayLike<Blob>
  | FileSystemDirectoryHandle
  | FileSystemFileHandle;

export interface LoadOptions {
  /** Sees how loading goes. */
  onProgress?: (progress: Progress) => void;
  /** Ends loading; what was downloaded is kept, and goes on from there. */
  signal?: AbortSignal;
  /** Format of the weights on the GPU, converted while they are read; `auto` is as the files have them. */
  weights?: "auto" | "f32" | "f16" | "q8" | "q4";
  /** Type of the key/value cache; f16 by default. */
  kv?: "f32" | "f16" | "q8" | "q4";
  /** How much routers let tokens compute, 0 to 1; as the model says by default. */
  effort?: number;
  /** Tokens of the context; the model's own by default, at most 4096. */
  contextLength?: number;
  /** Refuse to load a model that needs more bytes on the GPU. */
  memory?: number;
  /** SHA-256 of files by name, in hexadecimal digits; they are checked as they come. */
  sha256?: Record<string, string>;
  /** Use subgroup operations where the adapter has them; true by default. */
  subgroups?: boolean;
}

export interface Progress {
  /**
   * `download`: bytes that came, `fromCache` of them from the cache. `weights`: bytes of the tensors that the GPU
   * has. `kernels`: shaders are compiled. `ready`: the end. The first two overlap.
   */
  phase: "download" | "weights" | "kernels" | "ready";
  loaded: number;
  total: number;
  fromCache?: number;
}

/** What was loaded. */
export interface Info {
  /** Where it came from. */
  model: string;
  architecture: string;
  layers: number;
  contextLength: number;
  /** Whether it has routers. */
  routed: boolean;
  defaultEffort: number | null;
  /** How the model itself draws tokens. */
  sampler: { temperature: number; topK: number; topP: number };
  /** On the GPU. */
  bytes: { weights: number; cache: number; activations: number };
  seconds: { weights: number; kernels: number; total: number };
  adapter: {
    name: string;
    /** Whether it computes on the processor. */
    software: boolean;
    /** Smallest size of the subgroups in use, 0 for none. */
    subgroups: number;
    f16: boolean;
  };
  /** Memory of the worker's WebAssembly. */
  wasmBytes: number;
}

export interface Sampling {
  /** Below 0.001 is greedy. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  /** The same seed gives the same text. */
  seed?: number;
}

export interface GenerateOptions extends Sampling {
  maxTokens?: number;
  /** Strings that end the answer, and are no part of it. */
  stop?: string[];
  /** Go on past the model's end tokens. */
  ignoreEos?: boolean;
  effort?: number;
  /** Gets each token, and the text that is whole with it; often none. */
  onToken?: (piece: { token: number; text: string }) => void;
  signal?: AbortSignal;
}

/** Parts of a sequence's tokens and layers. */
export interface RoutingShares {
  attentionLow: number;
  ffnLow: number;
  ffnSkipped: number;
  /** Of the multiply-adds that the full model runs. */
  compute: number;
}

export interface Generation {
  text: string;
  ids: number[];
  stop: "eos" | "stop" | "length" | "context_full" | "cancelled";
  promptTokens: number;
  /** Of the prompt, those that were not computed again. */
  cachedTokens: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** Seconds. */
  timeToFirstToken: number;
  routes: RoutingShares | null;
}

/** The path of each token through the layers. */
export interface Paths {
  /** Two letters a layer, attention and FFN: f is full, l low-rank, s skipped. */
  tokens: { id: number; text: string; layers: string[] }[];
  shares: RoutingShares;
}

export interface ChatMessage {
  role: "system" | "user" | "assistant" | "tool" | (string & {});
  content: string | null;
  [field: string]: unknown;
}

/** OpenAI's request, as far as the engine knows it; other fields are refused by name. */
export interface ChatRequest {
  messages: ChatMessage[];
  stream?: boolean;
  /** A last chunk with `usage` and no choices. */
  stream_options?: { include_usage?: boolean };
  temperature?: number | null;
  top_p?: number | null;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  stop?: string | string[] | null;
  /** Drawn anew for each answer by default. */
  seed?: number | null;
  /** Ignored: the engine has one model. */
  model?: string;
  user?: string;
  /** Beyond OpenAI's. */
  top_k?: number | null;
  min_p?: number | null;
  repeat_penalty?: number | null;
  effort?: number | null;
  signal?: AbortSignal;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
  extra: {
    prefill_tokens_per_s: number;
    decode_tokens_per_s: number;
    time_to_first_token_s: number;
    /** `null` for a model without routers. */
    routes: { attention_low: number; ffn_low: number; ffn_skipped: number; compute: number } | null;
  };
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: {
    index: 0;
    message: { role: "assistant"; content: string; refusal: null };
    logprobs: null;
    finish_reason: "stop" | "length";
  }[];
  usage: Usage;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: 0;
    delta: { role?: "assistant"; content?: string };
    logprobs: null;
    finish_reason: "stop" | "length" | null;
  }[];
  /** `null` but in the last chunk; absent unless it was asked for. */
  usage?: Usage | null;
}

export interface Completions {
  /** Chunks as they come; who leaves the loop ends the answer. */
  create(request: ChatRequest & { stream: true }, options?: { signal?: AbortSignal }): Promise<AsyncGenerator<ChatCompletionChunk, void, void>>;
  create(request: ChatRequest & { stream?: false }, options?: { signal?: AbortSignal }): Promise<ChatCompletion>;
}

/**
 * A model in a worker of its own. Calls take their turn. `devicelost` says that the GPU was lost, `devicerestored` that
 * the engine has loaded the model again and goes on.
 */
export class Engine extends EventTarget {
  private constructor();
  /** Loads a model; without a source the default one, which comes with the package. */
  static load(source?: Source | null, options?: LoadOptions): Promise<Engine>;
  static load(options: LoadOptions): Promise<Engine>;
  readonly info: Info;
  /** Of answers that name none. */
  effort: number | undefined;
  readonly chat: { readonly completions: Completions };
  /** Continues a text, or ids. */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): Promise<Generation>;
  /** Answers a conversation. */
  answer(messages: ChatMessage[], options?: GenerateOptions): Promise<Generation>;
  /** Control tokens in the text are plain text unless `special` is set. */
  tokenize(text: string, options?: { special?: boolean; signal?: AbortSignal }): Promise<number[]>;
  detokenize(ids: ArrayLike<number>, options?: { signal?: AbortSignal }): Promise<string>;
  /** Of the tokens that the cache holds: the last conversation. `null` for a model without routers. */
  routes(options?: { signal?: AbortSignal }): Promise<Paths | null>;
  /** Forgets the cached conversation; no answer depends on it. */
  reset(): Promise<void>;
  /** `info` as it is now. */
  refresh(): Promise<Info>;
  /** Destroys the GPU device as a crashed driver would, to test recovery. */
  loseDevice(): Promise<void>;
  /** Frees the GPU and ends the worker; calls under way end. */
  unload(): Promise<void>;
}

/** Bytes that downloads take in the browser's storage, unfinished ones included. */
export function cacheSize(): Promise<number>;
/** Removes all downloads. */
export function clearCache(): Promise<void>;

/** Why the engine could not do what it was asked. Aborted calls throw their signal's reason instead. */
export class DeputyError extends Error {
  readonly details: Record<string, unknown>;
}
/** `details.reason` is `api`, `adapter` or `device`. */
export class WebGPUNotAvailable extends DeputyError {}
export class AdapterLimits extends DeputyError {}
export class OutOfMemory extends DeputyError {}
export class DeviceLost extends DeputyError {}
export class ContextFull extends DeputyError {}
/** `details` has `url`, and `status` where the server answered. */
export class DownloadFailed extends DeputyError {}
/** `details` has `url`, `what`, `expected` and `found` where a download was checked. */
export class IntegrityError extends DeputyError {}
export class UnsupportedModel extends DeputyError {}
export class InvalidRequest extends DeputyError {}
export class EngineFailure extends DeputyError {}
