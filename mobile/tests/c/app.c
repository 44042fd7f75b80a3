/* What a program in C does: app DEVICE. Exits with 0 where everything was as it should be. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deputy.h"

#define CHECK(what)                                                                                   \
    do {                                                                                              \
        if (!(what)) {                                                                                \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #what, deputy_last_error()); \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)
#define OK(call) CHECK((call) == DEPUTY_STATUS_OK)

/* What a callback saw, and what it is to do. */
struct Seen {
    char text[4096];
    size_t n_bytes, n_pieces, stop_after;
    DeputyConversation *cancel, *ask;
    pthread_t thread;
};

static bool on_text(void *user, const char *text, size_t n_bytes) {
    struct Seen *seen = user;
    CHECK(strlen(text) == n_bytes && seen->n_bytes + n_bytes < sizeof seen->text);
    memcpy(seen->text + seen->n_bytes, text, n_bytes + 1);
    seen->n_bytes += n_bytes;
    seen->n_pieces++;
    seen->thread = pthread_self();
    if (seen->cancel != NULL && seen->n_pieces == 2) OK(deputy_conversation_cancel(seen->cancel));
    if (seen->ask != NULL)
        CHECK(deputy_conversation_send(seen->ask, "Hello!", NULL, NULL, NULL, NULL) == DEPUTY_STATUS_IN_CALLBACK);
    return seen->n_pieces != seen->stop_after;
}

static void on_progress(void *user, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    *(uint64_t *)user = done;
}

struct Turn {
    DeputyConversation *conversation;
    const char *question;
    DeputyAnswer answer;
};

static DeputyAnswerOptions greedy(uint32_t max_tokens) {
    return (DeputyAnswerOptions){
        .size = sizeof(DeputyAnswerOptions), .set = DEPUTY_SET_TEMPERATURE, .max_tokens = max_tokens};
}

static void *ask(void *user) {
    struct Turn *turn = user;
    DeputyAnswerOptions options = greedy(10);
    OK(deputy_conversation_send(turn->conversation, turn->question, &options, NULL, NULL, &turn->answer));
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && deputy_abi_version() == DEPUTY_ABI_VERSION);
    DeputyEngineOptions options = {.size = sizeof options, .device = argv[1]};

    DeputyModelInfo info = {.size = sizeof info};
    OK(deputy_model_info(NULL, &options, &info));
    CHECK(strcmp(info.architecture, "llama") == 0 && info.n_layers == 6 && info.total_bytes > info.weights_bytes);
    deputy_model_info_free(&info);
    deputy_model_info_free(&info);

    /* A bad file, a bad setting, bad arguments: each is told apart, none leaves a handle. */
    DeputyEngine *engine = (DeputyEngine *)1;
    FILE *bad = fopen("bad.gguf", "wb");
    CHECK(bad != NULL && fputs("GGUF but not really", bad) >= 0 && fclose(bad) == 0);
    CHECK(deputy_engine_open("bad.gguf", &options, NULL, NULL, &engine) == DEPUTY_STATUS_FILE);
    CHECK(engine == NULL && strstr(deputy_last_error(), "bad.gguf") != NULL);
    CHECK(deputy_engine_open("no/such/model", &options, NULL, NULL, &engine) == DEPUTY_STATUS_FILE);
    CHECK(deputy_engine_open("\xff", &options, NULL, NULL, &engine) == DEPUTY_STATUS_ARGUMENT);
    CHECK(deputy_engine_open(NULL, &options, NULL, NULL, NULL) == DEPUTY_STATUS_ARGUMENT);
    DeputyEngineOptions wrong = options;
    wrong.n_ctx = 1 << 20;
    CHECK(deputy_engine_open(NULL, &wrong, NULL, NULL, &engine) == DEPUTY_STATUS_SETTING);
    wrong = options, wrong.weights = 99;
    CHECK(deputy_engine_open(NULL, &wrong, NULL, NULL, &engine) == DEPUTY_STATUS_ARGUMENT);
    wrong = options, wrong.size = 3;
    CHECK(deputy_engine_open(NULL, &wrong, NULL, NULL, &engine) == DEPUTY_STATUS_ARGUMENT);
    wrong = options, wrong.memory_limit = 1000;
    CHECK(deputy_engine_open(NULL, &wrong, NULL, NULL, &engine) == DEPUTY_STATUS_MEMORY);
    /* A program of an older header knows less of the struct: what lies behind is not looked at. */
    wrong = options, wrong.size = offsetof(DeputyEngineOptions, memory_limit), wrong.memory_limit = 1000;

    uint64_t done = 0;
    OK(deputy_engine_open(NULL, &wrong, on_progress, &done, &engine));
    CHECK(done > 5000000);
    char *device = deputy_engine_device(engine);
    CHECK(device != NULL && strlen(device) > 0);

    /* Streams an answer, on the engine's thread; then on this one. */
    DeputyConversation *one, *two;
    DeputyConversationOptions system = {.size = sizeof system, .system = "You are brief."};
    OK(deputy_conversation_open(engine, NULL, &one));
    OK(deputy_conversation_open(engine, &system, &two));
    DeputyAnswerOptions few = greedy(10);
    DeputyAnswer answer = {.size = sizeof answer};
    struct Seen seen = {.ask = two};
    OK(deputy_conversation_send(one, "What is the capital of France?", &few, on_text, &seen, &answer));
    CHECK(strcmp(seen.text, "The capital of France is Paris.") == 0 && seen.n_pieces > 2);
    CHECK(strcmp(seen.text, answer.text) == 0 && answer.stop == DEPUTY_STOP_REASON_EOS);
    CHECK(answer.n_tokens > 2 && answer.n_prompt > 5 && answer.first_token_ms > 0);
    CHECK(!pthread_equal(seen.thread, pthread_self()));
    deputy_answer_free(&answer);
    deputy_answer_free(&answer);
    seen = (struct Seen){.stop_after = 2};
    few.callback_here = true;
    OK(deputy_conversation_send(two, "What is the capital of France?", &few, on_text, &seen, &answer));
    CHECK(pthread_equal(seen.thread, pthread_self()) && seen.n_pieces == 2);
    CHECK(answer.stop == DEPUTY_STOP_REASON_CANCELLED && strcmp(seen.text, answer.text) == 0);
    deputy_answer_free(&answer);

    /* Is cancelled midway. */
    few = greedy(0);
    seen = (struct Seen){.cancel = one};
    OK(deputy_conversation_send(one, "Tell me a story about a fox.", &few, on_text, &seen, &answer));
    CHECK(answer.stop == DEPUTY_STOP_REASON_CANCELLED && answer.n_tokens < 20);
    deputy_answer_free(&answer);

    /* Ends at a text. */
    const char *stop[] = {"France"};
    few = greedy(10), few.stop = stop, few.n_stop = 1;
    OK(deputy_conversation_send(one, "What is the capital of France?", &few, NULL, NULL, &answer));
    CHECK(answer.stop == DEPUTY_STOP_REASON_STOP && strstr(answer.text, "France") == NULL);
    deputy_answer_free(&answer);

    /* A panic is an error, here and on the engine's thread. */
    CHECK(deputy_test_panic(NULL) == DEPUTY_STATUS_PANIC);
    CHECK(deputy_test_panic(engine) == DEPUTY_STATUS_PANIC);
    CHECK(strstr(deputy_last_error(), "on purpose") != NULL);

    /* Two conversations at a time, one of them brought along; the one knows nothing of the other. */
    deputy_conversation_close(two);
    OK(deputy_conversation_open(engine, NULL, &two));
    OK(deputy_conversation_add(two, DEPUTY_ROLE_USER, "My name is Anna and I like pears."));
    OK(deputy_conversation_add(two, DEPUTY_ROLE_ASSISTANT, "Nice to meet you, Anna!"));
    CHECK(deputy_conversation_add(two, 7, "?") == DEPUTY_STATUS_ARGUMENT);
    struct Turn turns[] = {{one, "What is the capital of Italy?", {.size = sizeof(DeputyAnswer)}},
                           {two, "What is my name?", {.size = sizeof(DeputyAnswer)}}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, ask, &turns[i]) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(strstr(turns[0].answer.text, "Rome") != NULL && strstr(turns[1].answer.text, "Anna") != NULL);
    for (int i = 0; i < 2; i++) deputy_answer_free(&turns[i].answer);

    /* Held, given back, and on again. */
    bool still = false;
    OK(deputy_engine_pause(engine, 1000, &still));
    CHECK(still);
    OK(deputy_engine_trim_memory(engine, DEPUTY_TRIM_WEIGHTS));
    CHECK(deputy_engine_trim_memory(engine, 9) == DEPUTY_STATUS_ARGUMENT);
    OK(deputy_engine_resume(engine));
    few = greedy(10);
    OK(deputy_conversation_send(two, "What is my name?", &few, NULL, NULL, &answer));
    CHECK(strstr(answer.text, "Anna") != NULL && answer.n_reused == 0);
    deputy_answer_free(&answer);

    /* Closed in any order. */
    deputy_conversation_close(one);
    deputy_engine_close(engine);
    CHECK(deputy_conversation_send(two, "Hello!", NULL, NULL, NULL, NULL) == DEPUTY_STATUS_CLOSED);
    deputy_conversation_close(two);
    deputy_engine_close(NULL);
    deputy_conversation_close(NULL);
    CHECK(remove("bad.gguf") == 0);
    printf("C on %s: everything as it should be\n", device);
    deputy_text_free(device);
    return 0;
}
