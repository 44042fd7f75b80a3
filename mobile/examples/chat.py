"""A conversation on the terminal: chat.py [MODEL], or the model that is compiled in."""

import sys

from deputy import Engine, TextListener


class Printer(TextListener):
    def on_text(self, text):
        print(text, end="", flush=True)
        return True  # False would stop the answer.


engine = Engine.open(*sys.argv[1:2])
print(engine.info().model, "on", engine.info().device)
conversation = engine.conversation()
print("\n> ", end="", flush=True)
for line in sys.stdin:
    answer = conversation.send(line.strip(), Printer())
    print(f"\n({answer.n_tokens} tokens, {answer.decode_tps:.1f} a second)\n> ", end="", flush=True)
