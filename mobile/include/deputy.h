/*
 * deputy for C. An engine is a model on a device: heavy, one of it. A conversation is light.
 *
 * Functions return a DeputyStatus; deputy_last_error has the words. Options are structs that begin with their size:
 * `DeputyEngineOptions options = {.size = sizeof options, .device = "cpu"};` leaves everything else as it is by default,
 * as does a null pointer. What is filled begins with its size too: `DeputyAnswer answer = {.size = sizeof answer};`.
 *
 * Calls may come from any thread, several at a time. Callbacks come on the engine's thread unless callback_here; they
 * may call everything but what waits for an answer, which says DEPUTY_STATUS_IN_CALLBACK. A call that closes a handle
 * is the last one that begins on it.
 */

#ifndef DEPUTY_H
#define DEPUTY_H

/* Generated from mobile/src/c by `cargo xtask mobile header`. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Changes where something is no longer as it was; what is new behind the old changes nothing.
#define DEPUTY_ABI_VERSION 1

// DeputyAnswerOptions.temperature counts.
#define DEPUTY_SET_TEMPERATURE 1

// DeputyAnswerOptions.top_k counts.
#define DEPUTY_SET_TOP_K 2

// DeputyAnswerOptions.top_p counts.
#define DEPUTY_SET_TOP_P 4

// DeputyAnswerOptions.min_p counts.
#define DEPUTY_SET_MIN_P 8

// DeputyAnswerOptions.repeat_penalty counts.
#define DEPUTY_SET_REPEAT_PENALTY 16

// DeputyAnswerOptions.seed counts.
#define DEPUTY_SET_SEED 32

// How a call ended; deputy_last_error has the words.
typedef enum DeputyStatus {
  // It did what it was asked.
  DEPUTY_STATUS_OK = 0,
  // A pointer is null, a text is not UTF-8, or a number is none of its enum.
  DEPUTY_STATUS_ARGUMENT = 1,
  // A file cannot be read, or is not what it should be.
  DEPUTY_STATUS_FILE = 2,
  // The model is not supported, or its files do not fit together.
  DEPUTY_STATUS_MODEL = 3,
  // More memory is needed than is allowed or there.
  DEPUTY_STATUS_MEMORY = 4,
  // There is no such device, or it failed. A lost device is opened again by the next answer.
  DEPUTY_STATUS_DEVICE = 5,
  // The conversation is longer than the context.
  DEPUTY_STATUS_TOO_LONG = 6,
  // A setting is out of its range.
  DEPUTY_STATUS_SETTING = 7,
  // The conversation is being answered.
  DEPUTY_STATUS_BUSY = 8,
  // The engine was closed.
  DEPUTY_STATUS_CLOSED = 9,
  // The call waits for the engine, and came from one of its callbacks.
  DEPUTY_STATUS_IN_CALLBACK = 10,
  // A defect of the library. The engine goes on.
  DEPUTY_STATUS_PANIC = 11,
  // Anything else.
  DEPUTY_STATUS_OTHER = 12,
} DeputyStatus;

// Format of the weights on the device.
typedef enum DeputyWeights {
  // As the file has them.
  DEPUTY_WEIGHTS_AUTO = 0,
  // Single precision.
  DEPUTY_WEIGHTS_F32 = 1,
  // Half precision.
  DEPUTY_WEIGHTS_F16 = 2,
  // Blocks of 32 in 8 bits.
  DEPUTY_WEIGHTS_Q8 = 3,
  // Blocks of 32 in 4 bits.
  DEPUTY_WEIGHTS_Q4 = 4,
} DeputyWeights;

// Type of the cache of keys and values.
typedef enum DeputyCache {
  // Half precision.
  DEPUTY_CACHE_F16 = 0,
  // Single precision.
  DEPUTY_CACHE_F32 = 1,
  // Blocks of 32 in 8 bits.
  DEPUTY_CACHE_Q8 = 2,
  // Blocks of 32 in 4 bits.
  DEPUTY_CACHE_Q4 = 3,
} DeputyCache;

// How much memory is given back.
typedef enum DeputyTrim {
  // The caches: conversations compute their texts again when they go on.
  DEPUTY_TRIM_CACHES = 0,
  // The weights and the device too: the next answer loads the model again.
  DEPUTY_TRIM_WEIGHTS = 1,
} DeputyTrim;

// Whose words a message is.
typedef enum DeputyRole {
  // What the model is told before the conversation.
  DEPUTY_ROLE_SYSTEM = 0,
  // The person's.
  DEPUTY_ROLE_USER = 1,
  // The model's.
  DEPUTY_ROLE_ASSISTANT = 2,
} DeputyRole;

// Why an answer ended.
typedef enum DeputyStopReason {
  // The model was done.
  DEPUTY_STOP_REASON_EOS = 0,
  // One of DeputyAnswerOptions.stop came up.
  DEPUTY_STOP_REASON_STOP = 1,
  // DeputyAnswerOptions.max_tokens were made.
  DEPUTY_STOP_REASON_LENGTH = 2,
  // The context is full.
  DEPUTY_STOP_REASON_CONTEXT_FULL = 3,
  // It was cancelled, or the callback stopped it.
  DEPUTY_STOP_REASON_CANCELLED = 4,
} DeputyStopReason;

// Messages, and the answers to them. Conversations of one engine are answered one after another.
// [`close`](Conversation::close) or dropping it gives back its cache.
typedef struct DeputyConversation DeputyConversation;

// A model on a device, and the thread that works for it. [`close`](Engine::close) or dropping it gives back everything.
typedef struct DeputyEngine DeputyEngine;

// How a model is loaded.
typedef struct DeputyEngineOptions {
  // sizeof(DeputyEngineOptions)
  size_t size;
  // "auto" (a GPU, else the CPU), "cpu", the number of an adapter, or a part of its name; null is "auto".
  const char *device;
  // A folder for compiled shaders, which saves time on the next start; null keeps nothing.
  const char *cache_dir;
  // Refuse to load a model that needs more bytes; 0 is no limit.
  uint64_t memory_limit;
  // Tokens of a conversation's context; 0 is the model's own, at most 4096.
  uint32_t n_ctx;
  // A DeputyWeights.
  uint32_t weights;
  // A DeputyCache.
  uint32_t cache;
  // Conversations whose caches are kept at a time; 0 is 4.
  uint32_t max_caches;
} DeputyEngineOptions;

// What a model is, and the bytes that it would take on the device with one conversation.
typedef struct DeputyModelInfo {
  // sizeof(DeputyModelInfo), set by the program before the call.
  size_t size;
  // Where it came from.
  char *name;
  // "llama", "qwen3" and so on.
  char *architecture;
  // Elements of all tensors.
  uint64_t n_parameters;
  // Bytes of the weights.
  uint64_t weights_bytes;
  // Bytes of the keys and values.
  uint64_t cache_bytes;
  // Bytes of what is computed in between.
  uint64_t activations_bytes;
  // All of them.
  uint64_t total_bytes;
  // Layers.
  uint32_t n_layers;
  // Tokens of the vocabulary.
  uint32_t vocab_size;
  // Tokens that the model was trained to look back on.
  uint32_t max_ctx;
  // Whether it brings a chat template, so that it was trained to talk.
  bool has_chat_template;
  // Whether its layers have routers and low-rank branches.
  bool is_routed;
} DeputyModelInfo;

// Sees how far loading is, in bytes of weights. Called on the engine's thread.
typedef void (*DeputyOnProgress)(void *user, uint64_t done, uint64_t total);

// How a conversation goes.
typedef struct DeputyConversationOptions {
  // sizeof(DeputyConversationOptions)
  size_t size;
  // What the model is told before it; null is nothing.
  const char *system;
  // How much a routed model lets tokens compute, 0 to 1, where has_effort.
  float effort;
  // Whether effort counts; otherwise it is as the model was trained.
  bool has_effort;
} DeputyConversationOptions;

// How an answer is made. What is absent is as the model's own configuration says.
typedef struct DeputyAnswerOptions {
  // sizeof(DeputyAnswerOptions)
  size_t size;
  // Texts that end the answer and are not part of it.
  const char *const *stop;
  // How many.
  size_t n_stop;
  // The same seed gives the same answer; from the clock unless DEPUTY_SET_SEED.
  uint64_t seed;
  // Tokens at most; 0 is as many as the context holds.
  uint32_t max_tokens;
  // Which of seed and the settings below count: DEPUTY_SET_*, or'ed.
  uint32_t set;
  // Divides the logits; 0 always takes the likeliest token.
  float temperature;
  // How many of the likeliest tokens may be drawn; 0 is all.
  uint32_t top_k;
  // Probability that they make up together; 1 is all.
  float top_p;
  // Least probability as a part of the largest; 0 is none.
  float min_p;
  // Lessens tokens that were there before; 1 leaves them.
  float repeat_penalty;
  // Call on_text on this thread, which waits for the answer.
  bool callback_here;
} DeputyAnswerOptions;

// Sees a piece of an answer: whole characters in UTF-8, ending with a NUL, valid during the call. Returns whether the
// answer goes on. Called on the engine's thread, unless DeputyAnswerOptions.callback_here says otherwise.
typedef bool (*DeputyOnText)(void *user, const char *text, size_t n_bytes);

// An answer, and what it took.
typedef struct DeputyAnswer {
  // sizeof(DeputyAnswer), set by the program before the call.
  size_t size;
  // The text, whole.
  char *text;
  // Milliseconds from its turn to its first token.
  double first_token_ms;
  // Tokens of the prompt computed a second.
  double prefill_tps;
  // Tokens made a second, after the first.
  double decode_tps;
  // A DeputyStopReason.
  uint32_t stop;
  // Tokens of the conversation before it.
  uint32_t n_prompt;
  // How many of them were still in the cache.
  uint32_t n_reused;
  // Tokens of the answer.
  uint32_t n_tokens;
} DeputyAnswer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Version of this interface: compare with DEPUTY_ABI_VERSION.
uint32_t deputy_abi_version(void);

// What was wrong with the last call on this thread that failed. Valid until the next one; not to be freed.
const char *deputy_last_error(void);

// What a model is and what it would take; the one that is compiled in where model is null. Reads the headers of its
// files and no weights. info is to be freed with deputy_model_info_free.
//
// # Safety
// Pointers are null or valid, texts end with a NUL, structs are as large as their size says.
enum DeputyStatus deputy_model_info(const char *model,
                                    const struct DeputyEngineOptions *options,
                                    struct DeputyModelInfo *info);

// Frees the texts of a model's information. Null is fine, and so is doing it twice.
//
// # Safety
// info is null or what deputy_model_info filled.
void deputy_model_info_free(struct DeputyModelInfo *info);

// Loads a model from a folder or a .gguf file; the one that is compiled in where model is null. Waits until it is
// loaded. options and on_progress may be null. engine is to be closed with deputy_engine_close.
//
// # Safety
// Pointers are null or valid, texts end with a NUL, structs are as large as their size says.
enum DeputyStatus deputy_engine_open(const char *model,
                                     const struct DeputyEngineOptions *options,
                                     DeputyOnProgress on_progress,
                                     void *user,
                                     struct DeputyEngine **engine);

// Name of the device that an engine runs on. To be freed with deputy_text_free; null for a null engine.
//
// # Safety
// engine is null or open.
char *deputy_engine_device(const struct DeputyEngine *engine);

// Holds answers before their next step: an app in the background may not use the GPU. Waits up to so many
// milliseconds for the steps on their way; still, which may be null, says whether nothing is computed any more.
//
// # Safety
// engine is null or open, still is null or valid.
enum DeputyStatus deputy_engine_pause(const struct DeputyEngine *engine,
                                      uint32_t within_ms,
                                      bool *still);

// Lets answers go on.
//
// # Safety
// engine is null or open.
enum DeputyStatus deputy_engine_resume(const struct DeputyEngine *engine);

// Gives back memory, a DeputyTrim; what an answer uses that is being made follows at its end. What is needed is made
// again later.
//
// # Safety
// engine is null or open.
enum DeputyStatus deputy_engine_trim_memory(const struct DeputyEngine *engine,
                                            uint32_t trim);

// Cancels what is being answered, gives back everything and ends the handle; its conversations are closed by
// themselves, before or after. Null is fine.
//
// # Safety
// engine is null or open, and not used again.
void deputy_engine_close(struct DeputyEngine *engine);

// Begins a conversation. options may be null. It is to be closed with deputy_conversation_close.
//
// # Safety
// engine is null or open, other pointers are null or valid.
enum DeputyStatus deputy_conversation_open(const struct DeputyEngine *engine,
                                           const struct DeputyConversationOptions *options,
                                           struct DeputyConversation **conversation);

// Adds a message of a DeputyRole without answering it: to go on with a conversation that the program has kept.
//
// # Safety
// conversation is null or open, text is null or ends with a NUL.
enum DeputyStatus deputy_conversation_add(const struct DeputyConversation *conversation,
                                          uint32_t role,
                                          const char *text);

// Adds the person's message and waits for its answer; where that fails, the conversation is as it was before. options,
// on_text and answer may be null; answer is to be freed with deputy_answer_free. An answer that was stopped is
// DEPUTY_STATUS_OK: DeputyAnswer.stop says so.
//
// # Safety
// conversation is null or open, other pointers are null or valid, texts end with a NUL, structs are as large as their
// size says.
enum DeputyStatus deputy_conversation_send(const struct DeputyConversation *conversation,
                                           const char *text,
                                           const struct DeputyAnswerOptions *options,
                                           DeputyOnText on_text,
                                           void *user,
                                           struct DeputyAnswer *answer);

// Stops the answer that is being made, within a token. From any thread, callbacks included.
//
// # Safety
// conversation is null or open.
enum DeputyStatus deputy_conversation_cancel(const struct DeputyConversation *conversation);

// Cancels its answer, gives back its cache and ends the handle. Null is fine.
//
// # Safety
// conversation is null or open, and not used again but by a deputy_conversation_send that has begun.
void deputy_conversation_close(struct DeputyConversation *conversation);

// Frees an answer's text. Null is fine, and so is doing it twice.
//
// # Safety
// answer is null or what deputy_conversation_send filled.
void deputy_answer_free(struct DeputyAnswer *answer);

// Frees a text that a function returned. Null is fine.
//
// # Safety
// text is null or what a function of this header returned to be freed.
void deputy_text_free(char *text);

#if defined(DEPUTY_TEST_HOOKS)
// Panics, on the engine's thread or, for a null engine, on the caller's: for tests.
//
// # Safety
// engine is null or open.
enum DeputyStatus deputy_test_panic(const struct DeputyEngine *engine);
#endif

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DEPUTY_H */
