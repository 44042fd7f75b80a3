"""The table of a routed model, measured by the engine: perplexity, compute, cache and speed at several efforts, and
beside each what the same compute gives with random tokens and with fixed layers."""

import argparse
import json
import subprocess
from pathlib import Path

from . import sidecar


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a folder with a sidecar")
    parser.add_argument("texts", type=Path, nargs="+", help="held-out texts; perplexity is measured on each")
    parser.add_argument("--deputy", default="deputy", help="the engine's program")
    parser.add_argument("--efforts", type=float, nargs="+", default=[0.8, 0.6, 0.4, 0.2, 0.0])
    parser.add_argument("--n-windows", type=int, default=64)
    parser.add_argument("--baselines", action="store_true", help="random tokens and fixed layers beside each effort")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> None:
    """Prints the table in Markdown."""
    value = sidecar.read(args.model)
    model, ranks = value["model"], value["layers"]
    d_kv = model["n_kv_heads"] * model["head_dim"]
    # A layer without factors keeps its keys and values as they are.
    latent = sum(r.get("k", d_kv) + r.get("v", d_kv) for r in ranks) / (2 * d_kv * len(ranks))
    names = [text.stem for text in args.texts]
    print(f"| effort | compute | cache | {' | '.join(names)} | decode tok/s |")
    print("|---" * (len(names) + 4) + "|")
    dense: list[float] = []
    for effort in [1.0, *args.efforts]:
        options = ["--effort", str(effort)]
        found = [perplexity(args, text, options) for text in args.texts]
        dense = dense or [of["ppl"] for of in found]
        routes = found[0]["routes"]
        print(line(str(effort), routes, latent, found, dense, speed(args, options)), flush=True)
        if not args.baselines or effort == 1:
            continue
        shares = ",".join(f"{routes[k]:.4f}" for k in ("attention_low", "ffn_low", "ffn_skipped"))
        for name, way in [("random tokens", f"shares:{shares}"), ("fixed layers", fixed(routes["compute"], value))]:
            found = [perplexity(args, text, ["--routes", way]) for text in args.texts]
            print(line(name, found[0]["routes"], latent, found, dense, None), flush=True)


def line(name: str, routes: dict, latent: float, found: list[dict], dense: list[float], tps: float | None) -> str:
    """A line of the table."""
    cache = 1 - routes["attention_low"] * (1 - latent)
    texts = " | ".join(f"{of['ppl']:.2f} (× {of['ppl'] / d:.3f})" for of, d in zip(found, dense, strict=True))
    return f"| {name} | {routes['compute']:.2f} | {cache:.2f} | {texts} | {'' if tps is None else f'{tps:.0f}'} |"


def fixed(compute: float, value: dict) -> str:
    """As many of the last layers low-rank for all tokens as come nearest to a share of compute."""
    model, n = value["model"], value["model"]["n_layers"]
    q, kv, d, f = (
        model["n_heads"] * model["head_dim"],
        model["n_kv_heads"] * model["head_dim"],
        model["dim"],
        model["ffn_dim"],
    )
    sides = {"q": (q, d), "k": (kv, d), "v": (kv, d), "o": (d, q), "gate": (f, d), "up": (f, d), "down": (d, f)}
    full = sum(a * b for a, b in sides.values())

    def cost(ranks: dict, name: str) -> int:
        a, b = sides[name]
        return ranks[name] * (a + b) if name in ranks else a * b

    saved = [1 - sum(cost(ranks, name) for name in sides) / full for ranks in value["layers"]]
    best = min(range(n + 1), key=lambda k: abs(1 - sum(saved[n - k :]) / n - compute))
    return "layers:" + ",".join(["ff"] * (n - best) + ["ll"] * best)


def perplexity(args: argparse.Namespace, text: Path, options: list[str]) -> dict:
    """What `deputy perplexity` says."""
    return deputy(args, "perplexity", str(args.model), str(text), "--n-windows", str(args.n_windows), *options)


def speed(args: argparse.Namespace, options: list[str]) -> float:
    """Tokens a second of a greedy answer: the median of three."""
    ask = ["generate", str(args.model), "-p", "Once upon a time", "-n", "128", "--temp", "0", "--ignore-eos", *options]
    return sorted(deputy(args, *ask)["decode_tps"] for _ in range(3))[1]


def deputy(args: argparse.Namespace, *options: str) -> dict:
    """The engine's JSON."""
    command = [args.deputy, *options, "--device", args.device, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:3])}: {done.stderr.strip()}")
    return json.loads(done.stdout)
