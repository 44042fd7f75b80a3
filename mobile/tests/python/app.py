"""What an app in Python does: app.py DEVICE. Exits with 0 where everything was as it should be."""

import asyncio
import gc
import sys
import tempfile
import threading
from pathlib import Path

import deputy
from deputy import (
    AnswerOptions, ConversationOptions, DeputyError, Engine, EngineOptions, LoadListener, Role, StopReason,
    TextListener, Trim,
)

OPTIONS = EngineOptions(device=sys.argv[1])
GREEDY = AnswerOptions(max_tokens=12, temperature=0.0)
PARIS = "The capital of France is Paris."


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind} was expected")


class Seen(TextListener):
    def __init__(self, stop_after=None, then=None):
        self.pieces, self.threads, self.stop_after, self.then = [], set(), stop_after, then

    def on_text(self, text):
        self.pieces.append(text)
        self.threads.add(threading.get_ident())
        if self.then:
            self.then()
        return len(self.pieces) != self.stop_after


class Progress(LoadListener):
    def on_progress(self, done, total):
        self.done, self.total = done, total


def main():
    info = deputy.model_info(options=OPTIONS)
    assert info.architecture == "llama" and info.is_routed and info.memory.total > 5e6

    with tempfile.TemporaryDirectory() as folder:
        bad = Path(folder) / "bad.gguf"
        bad.write_bytes(b"GGUF but not really")
        error = raises(DeputyError.File, lambda: Engine.open(str(bad), OPTIONS))
        assert "bad.gguf" in error.reason
    raises(DeputyError.Memory, lambda: Engine.open(options=EngineOptions(device=OPTIONS.device, memory_limit=1000)))

    progress = Progress()
    engine = Engine.open(options=OPTIONS, listener=progress)
    assert progress.done == progress.total > 5e6
    assert engine.info().memory.total == info.memory.total

    # Streams an answer, on another thread.
    one, two = engine.conversation(), engine.conversation(ConversationOptions(system="You are brief."))
    seen = Seen()
    answer = one.send("What is the capital of France?", seen, GREEDY)
    assert answer.text == "".join(seen.pieces) == PARIS and len(seen.pieces) > 2
    assert answer.stop == StopReason.EOS and answer.n_tokens > 2 and answer.first_token_ms > 0
    assert seen.threads.isdisjoint({threading.get_ident()})

    # Is stopped by the listener, cancelled by another thread; a listener that fails says how.
    answer = two.send("Tell me a story about a fox.", Seen(stop_after=3))
    assert answer.stop == StopReason.CANCELLED and answer.n_tokens < 20
    answer = one.send("Tell me a story about a fox.", Seen(then=one.cancel))
    assert answer.stop == StopReason.CANCELLED and answer.n_tokens < 20
    error = raises(DeputyError.Callback, lambda: one.send("Hello!", Seen(then=lambda: 1 / 0)))
    assert "division" in error.reason

    # Two conversations at a time; the one knows nothing of the other.
    two.reset()
    two.add(Role.USER, "My name is Anna and I like pears.")
    two.add(Role.ASSISTANT, "Nice to meet you, Anna!")
    answers = {}

    def ask(conversation, question):
        answers[question] = conversation.send(question, options=GREEDY).text

    turns = [(one, "What is the capital of Italy?"), (two, "What is my name?")]
    threads = [threading.Thread(target=ask, args=turn) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "Rome" in answers[turns[0][1]] and "Anna" in answers[turns[1][1]], answers

    # A panic is an error.
    assert "on purpose" in raises(DeputyError.Panic, engine.test_panic).reason

    # Held, given back, and on again; without blocking.
    assert engine.pause()
    engine.trim_memory(Trim.WEIGHTS)
    engine.resume()
    assert "Anna" in asyncio.run(two.answer("What is my name?", options=GREEDY)).text

    async def forsaken():
        seen = Seen()
        task = asyncio.create_task(two.answer("Tell me a story about a fox.", seen))
        while not seen.pieces:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loaded = await Engine.load(options=OPTIONS)
        loaded.shutdown()

    asyncio.run(forsaken())
    del one
    gc.collect()

    device = engine.info().device
    engine.shutdown()
    raises(DeputyError.Closed, lambda: two.send("Hello!"))
    raises(DeputyError.Closed, engine.conversation)
    print(f"Python on {device}: everything as it should be")


main()
