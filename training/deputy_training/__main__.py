"""The command line: `python -m deputy_training COMMAND`."""

import argparse
import importlib
import sys

COMMANDS = {
    "converse": "write the conversations: train.jsonl and held_out.jsonl",
    "pretrain": "train a small Llama and its tokenizer from nothing",
    "deputize": "train low-rank branches and routers for a model",
    "evaluate": "perplexity, shares and routes of a model with a sidecar",
    "answers": "how many held-out conversations the engine answers rightly",
    "measure": "the table of a routed model, by the engine",
    "outliers": "a model of the same function with outliers, to try quantisation on",
}
MODULES = {"converse": "conversations"}


def main() -> None:
    """Runs one command. Only its own module is imported, so that `converse` needs no torch."""
    parser = argparse.ArgumentParser(
        prog="python -m deputy_training", description="Trains models for the deputy engine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    module = None
    for name, about in COMMANDS.items():
        command = commands.add_parser(
            name, help=about, description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        if name == asked:
            module = importlib.import_module(f".{MODULES.get(name, name)}", __package__)
            module.arguments(command)
    args = parser.parse_args()
    assert module is not None
    module.run(args)


if __name__ == "__main__":
    main()
