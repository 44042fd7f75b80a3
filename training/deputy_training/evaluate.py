"""Perplexity, shares and routes in PyTorch, to hold the engine's numbers against."""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from . import sidecar, text
from .routing import Decision, Routed


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a folder with a sidecar")
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--efforts", type=float, nargs="+", help="[default: 1 and the sidecar's own]")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--n-windows", type=int, default=1 << 30)
    parser.add_argument("--routes", action="store_true", help="print each token's branches, as `deputy routes` does")


def run(args: argparse.Namespace) -> None:
    """Prints one line of JSON for each effort."""
    from .deputize import load

    value = sidecar.read(args.model)
    tokenizer = text.load_tokenizer(args.model)
    router = value["router"]
    routed = Routed(
        load(args.model), value["layers"], router.get("width"), value["dense_layers"], value["dense_tokens"]
    ).eval()
    sidecar.load_tensors(routed, args.model)
    table = value["effort"]["offsets"]
    read = args.text.read_text(encoding="utf-8", errors="replace")
    batches = [
        w[None]
        for w in windows(tokenizer, text.first_tokens(tokenizer, args.model), read, args.window)[: args.n_windows]
    ]
    if not batches:
        raise SystemExit(f"{args.text}: expected a window of {args.window} tokens, found fewer")
    for effort in args.efforts or [1.0, value["effort"]["default"]]:
        decision = Decision("full") if effort == 1 else Decision("router", offsets_at(table, effort))
        with torch.no_grad(), routed.deciding(decision):
            if args.routes:
                for ids in batches:
                    routed(ids)
                    print("\n".join(letters(routed)))
                continue
            found = score(routed, batches)
        print(json.dumps({"effort": effort} | found), flush=True)


def windows(tokenizer, first: list[int], read: str, n: int) -> list[torch.Tensor]:
    """A text's tokens in windows of `n`, each with `first` in front, as `deputy perplexity` cuts them."""
    ids = tokenizer.encode(read, add_special_tokens=False)
    n_text = n - len(first)
    return [torch.tensor(first + ids[i : i + n_text]) for i in range(0, len(ids) - n_text + 1, n_text)]


def offsets_at(table: list[dict], effort: float) -> torch.Tensor:
    """Attention's and FFN's offsets: interpolated, beyond the table's ends those of its ends."""
    below = [e for e in table if e["effort"] <= effort] or table[:1]
    above = [e for e in table if e["effort"] > effort] or table[-1:]
    low, high = below[-1], above[0]
    t = (effort - low["effort"]) / (high["effort"] - low["effort"]) if high["effort"] > low["effort"] else 0.0
    return torch.tensor([low[k] * (1 - t) + high[k] * t for k in ("attention", "ffn")])


@torch.no_grad()
def score(routed: Routed, batches: list[torch.Tensor]) -> dict[str, float]:
    """Perplexity of the second half of each window, and what all tokens took."""
    total, n, shares = 0.0, 0, []
    for ids in batches:
        logits = routed(ids).float()
        begin = ids.shape[1] // 2
        total += (
            F.cross_entropy(logits[:, begin - 1 : -1].flatten(0, 1), ids[:, begin:].flatten(), reduction="sum")
            .double()
            .item()
        )
        n += ids[:, begin:].numel()
        compute, cache = routed.shares()
        shares.append(torch.stack([compute.mean(), cache.mean()]))
    compute, cache = torch.stack(shares).mean(0).tolist()
    return {"perplexity": float(torch.tensor(total / n).exp()), "compute": compute, "cache": cache, "tokens": n}


def letters(routed: Routed) -> list[str]:
    """A line for each token of the first row, two letters for each layer."""
    n = max(r.attention_full.shape[1] for r in routed.routes if r.attention_full is not None)
    columns = []
    for route in routed.routes:
        if route.attention_full is None:
            columns.append(["ff"] * n)
            continue
        of = zip(*(m[0, :, 0].tolist() for m in (route.attention_full, route.ffn_full, route.ffn_kept)), strict=True)
        columns.append([("f" if a else "l") + ("f" if f else "l" if kept else "s") for a, f, kept in of])
    return [" ".join(of) for of in zip(*columns, strict=True)]
