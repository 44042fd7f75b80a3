"""How many held-out conversations the engine answers rightly: greedy answers of `deputy generate`, each behind the
turns that its case gives."""

import argparse
import json
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from .conversations import right
from .text import load_tokenizer


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("cases", type=Path, help="held_out.jsonl, as `converse` writes it")
    parser.add_argument("--deputy", default="deputy", help="the engine's program")
    parser.add_argument("--show", action="store_true", help="print the wrong answers")
    parser.add_argument("--n", type=int, default=1 << 30, help="cases at most")
    parser.add_argument("--options", default="", help="for the engine: --options='--effort 0.4 --device cpu'")


def run(args: argparse.Namespace) -> None:
    """Prints the share of right answers by family and over all."""
    tokenizer = load_tokenizer(args.model)
    cases = [json.loads(line) for line in args.cases.read_text(encoding="utf-8").splitlines()][: args.n]
    found: dict[str, list[bool]] = defaultdict(list)
    wrong = []
    for case in tqdm(cases, unit="case"):
        prompt = tokenizer.apply_chat_template(case["messages"], tokenize=False, add_generation_prompt=True)
        answer = generate(args, prompt)
        is_right = right(case["check"], answer)
        found[case["family"]].append(is_right)
        if not is_right:
            wrong.append(
                {"said": [m["content"] for m in case["messages"]], "answer": answer, "expected": case["answer"]}
            )
    if args.show:
        for case in wrong:
            print(json.dumps(case, ensure_ascii=False))
    of = [is_right for answers in found.values() for is_right in answers]
    print(json.dumps({
        "right": sum(of), "cases": len(of), "share": round(sum(of) / len(of), 4),
        "families": {family: f"{sum(answers)}/{len(answers)}" for family, answers in sorted(found.items())},
    }))  # fmt: skip


def generate(args: argparse.Namespace, prompt: str) -> str:
    """The engine's greedy answer; one that does not end within 300 tokens is wrong."""
    command = [
        args.deputy,
        "generate",
        str(args.model),
        "-p",
        prompt,
        "--temp",
        "0",
        "-n",
        "300",
        "--json",
        *shlex.split(args.options),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    value = json.loads(done.stdout)
    return value["text"] if value["stop"] == "eos" else ""
