/* A conversation on the terminal: chat [MODEL], or the model that is compiled in. Ctrl-C stops an answer. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "deputy.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

/* Called for each piece of an answer, on the engine's thread; false stops it. */
static bool on_text(void *user, const char *text, size_t n_bytes) {
    (void)user;
    fwrite(text, 1, n_bytes, stdout);
    fflush(stdout);
    return !interrupted;
}

static int failed(void) {
    fprintf(stderr, "error: %s\n", deputy_last_error());
    return 1;
}

int main(int argc, char **argv) {
    const char *model = argc > 1 ? argv[1] : NULL;
    if (deputy_abi_version() != DEPUTY_ABI_VERSION) {
        fprintf(stderr, "error: the library is another version than the header\n");
        return 1;
    }
    DeputyModelInfo info = {.size = sizeof info};
    if (deputy_model_info(model, NULL, &info) != DEPUTY_STATUS_OK) return failed();
    fprintf(stderr, "%s: %.1f million parameters, %.0f MB\n", info.name, (double)info.n_parameters / 1e6,
            (double)info.total_bytes / 1e6);
    deputy_model_info_free(&info);

    DeputyEngine *engine;
    DeputyConversation *conversation;
    if (deputy_engine_open(model, NULL, NULL, NULL, &engine) != DEPUTY_STATUS_OK) return failed();
    if (deputy_conversation_open(engine, NULL, &conversation) != DEPUTY_STATUS_OK) return failed();
    signal(SIGINT, on_interrupt);
    char line[4096];
    while (fputs("> ", stdout), fflush(stdout), fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        interrupted = 0;
        DeputyAnswer answer = {.size = sizeof answer};
        if (deputy_conversation_send(conversation, line, NULL, on_text, NULL, &answer) != DEPUTY_STATUS_OK) {
            failed();
            continue;
        }
        printf("\n");
        fprintf(stderr, "%u tokens, %.1f a second\n", answer.n_tokens, answer.decode_tps);
        deputy_answer_free(&answer);
    }
    deputy_conversation_close(conversation);
    deputy_engine_close(engine);
    return 0;
}
