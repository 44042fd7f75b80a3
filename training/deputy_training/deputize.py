"""Trains low-rank branches and routers for a model, and writes the engine's sidecar.

Two ways. With the dense weights *frozen*, B, D and the routers learn to give the dense model's own logits: effort 1
stays that model exactly. With *LoRA*, the paper's way, the dense weights move along: `W + B·A`, with the low-rank
branch `B·(C + A)` and C refitted by least squares as B moves.

Each window of a batch is computed at an effort of its own. An effort's offsets are learned with the routers; its price
of a multiply-add goes up while tokens take more than the effort allows, and down while they take less.
"""

import argparse
import copy
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel

from . import evaluate, sidecar, text
from .routing import NAMES, Decision, Routed, merge, refit, uniform_ranks, whiten
from .run import autocast, device_of, learning_rate, save_atomically

N_EFFORTS = 10
"""Efforts 0, 0.1 … 0.9; 1 is all full."""

ALL_FULL = 1e4
"""An offset that no logit reaches."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a Hugging Face folder: Llama, Mistral or Qwen")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the model with its sidecar, and the checkpoint"
    )
    parser.add_argument("--dense", choices=["frozen", "lora"], default="frozen", help="whether the dense weights move")
    parser.add_argument(
        "--text", type=Path, nargs="*", default=[], help="files of prose to learn from; the end of each is held out"
    )
    parser.add_argument("--conversations", type=Path, help="folder that `converse` wrote, for a model of `pretrain`")
    parser.add_argument("--chat-share", type=float, default=0.5)
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="learn from N tokens that the model itself writes"
    )
    parser.add_argument(
        "--from-fit", action="store_true", help="start from the sidecar beside the model, as `deputy fit` writes it"
    )
    parser.add_argument("--rank", type=float, default=0.125, help="rank in parts of each projection's smaller side")
    parser.add_argument("--width", type=int, default=64, help="hidden values of a router; 0 is a linear one")
    parser.add_argument("--dense-layers", type=int, help="first layers that are full [default: 2, at most a quarter]")
    parser.add_argument("--dense-tokens", type=int, default=2, help="first tokens that are full")
    parser.add_argument("--target", type=float, default=0.6, help="compute share at the default effort")
    parser.add_argument("--least", type=float, default=0.35, help="compute share at effort 0")
    parser.add_argument("--cache-weight", type=float, default=0.3, help="part of the cache in what an effort allows")
    parser.add_argument(
        "--cache",
        choices=["dense", "latent-v", "latent"],
        default="dense",
        help="how the engine keeps tokens of the low-rank attention",
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--distil", type=float, default=0.1, help="weight of the low-rank products' own errors")
    parser.add_argument("--refit-every", type=int, default=50, help="with LoRA, steps between fits of C")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=300)
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> None:
    """Trains, or goes on from the checkpoint in `--out`, and writes the model with its sidecar."""
    if not (args.text or args.conversations or args.sample):
        raise SystemExit("deputize: --text, --conversations or --sample is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    device = device_of(args.device)
    tokenizer = text.load_tokenizer(args.model)
    model = load(args.model).to(device)
    teacher = copy.deepcopy(model).requires_grad_(False)
    model.requires_grad_(False)
    n_layers = model.config.num_hidden_layers
    dense_layers = min(2, n_layers // 4) if args.dense_layers is None else args.dense_layers
    most = max(2, -(-n_layers // 4))
    if dense_layers > most:
        raise SystemExit(f"deputize: --dense-layers: expected at most {most}, found {dense_layers}")
    fitted = sidecar.read(args.model) if args.from_fit else None
    ranks = fitted["layers"] if fitted else uniform_ranks(model, args.rank)
    for n, layer in enumerate(ranks):
        if layer and set(layer) != set(NAMES):
            raise SystemExit(f"{args.model / 'deputy.json'}: layer {n}: expected ranks of {NAMES}, found {[*layer]}")
    bare = sum(not layer for layer in ranks)
    if dense_layers < bare:
        raise SystemExit(
            f"deputize: --dense-layers: expected at least {bare}, the layers without factors in the fitted sidecar, "
            f"found {dense_layers}"
        )
    routed = Routed(model, ranks, args.width or None, dense_layers, args.dense_tokens)
    train, held = text.read_texts(args.text)
    source = sources(args, tokenizer, teacher, train, device)

    def ids_of(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return batch[0].to(device)

    if fitted:
        sidecar.load_tensors(routed, args.model)
        print("starts from the fitted sidecar")
    else:
        print("second moments and whitened factors …")
        first = source(args.seed + 1, 0)
        whiten(routed, (ids_of(next(first)) for _ in range(8)))
    is_lora = args.dense == "lora"
    if is_lora:
        if fitted:
            refit(routed)
        for layer in routed.projections:
            for p in layer.values():
                p.A = nn.Parameter(torch.zeros_like(p.D))
    # Of the kinds that are trained on, in windows that are not.
    other = source(args.seed + 2, 1 << 30)
    mixed = [ids_of(next(other)) for _ in range(4)]
    held_out = held_out_windows(args, tokenizer, held, device) or mixed
    trainer = Trainer(args, routed, teacher, is_lora, device)
    trainer.train(source, held_out)
    if is_lora:
        merge(routed)
    offsets = calibrate(routed, trainer.offsets, mixed[:1], trainer.allowed)
    write(args, routed, tokenizer, offsets)
    for effort in (1.0, 0.8, 0.6, round(default_effort(args), 3), 0.2):
        decision = (
            Decision("full") if effort == 1 else Decision("router", evaluate.offsets_at(offsets, effort).to(device))
        )
        with routed.deciding(decision):
            print(json.dumps({"effort": effort} | evaluate.score(routed, held_out)))


def load(folder: Path) -> PreTrainedModel:
    """A model in f32; SDPA is the attention that autograd likes best on CPUs."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def default_effort(args: argparse.Namespace) -> float:
    """The effort at which the target is what is allowed."""
    return (args.target - args.least) / (1 - args.least)


def sources(args: argparse.Namespace, tokenizer, teacher: PreTrainedModel, train: list[str], device: torch.device):
    """A maker of batches from a seed and a first step."""
    chats = None
    if args.conversations:
        if text.START not in tokenizer.get_vocab():
            raise SystemExit(
                f"deputize: --conversations: expected a tokenizer with {text.START}, as `pretrain` makes it"
            )
        chats = text.Chats(tokenizer, text.read_conversations(args.conversations / "train.jsonl"))
    prose = text.Prose(tokenizer, train) if train else None
    if args.sample:
        sampled = sample(args, tokenizer, teacher, device)
        if prose is None:
            prose = text.Prose(tokenizer, [])
        prose.ids = np.concatenate([prose.ids, sampled])

    def source(seed: int, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return text.batches(prose, chats, args.chat_share, args.batch, args.window, seed, step)

    return source


@torch.no_grad()
def sample(args: argparse.Namespace, tokenizer, teacher: PreTrainedModel, device: torch.device) -> np.ndarray:
    """Tokens that the model writes by itself, from its first token or, without one, from tokens at random."""
    path = args.out / "sampled.npy"
    done = list(np.load(path)) if path.exists() else []
    torch.manual_seed(args.seed)
    n_rows, n = 128, min(256, teacher.config.max_position_embeddings)
    bar = tqdm(total=args.sample, initial=len(done), unit="token", desc="sampling")
    while len(done) < args.sample:
        first = tokenizer.bos_token_id
        start = (
            torch.full((n_rows, 1), first)
            if first is not None
            else torch.randint(0, teacher.config.vocab_size, (n_rows, 1))
        )
        ids = teacher.generate(start.to(device), do_sample=True, top_k=0, min_new_tokens=n - 1, max_new_tokens=n - 1,
                               pad_token_id=tokenizer.pad_token_id or 0)  # fmt: skip
        done += ids.flatten().tolist()
        bar.update(ids.numel())
        keep(np.array(done, dtype=np.int32), path)
    bar.close()
    return np.array(done[: args.sample], dtype=np.int32)


def keep(ids: np.ndarray, path: Path) -> None:
    """Writes the array whole or not at all."""

    def write(file: Path) -> None:
        with open(file, "wb") as out:
            np.save(out, ids)

    save_atomically(write, path)


def held_out_windows(args: argparse.Namespace, tokenizer, held: list[str], device: torch.device) -> list[torch.Tensor]:
    """The held-out text in batches of windows, at most 64 windows."""
    windows = evaluate.windows(tokenizer, text.first_tokens(tokenizer, args.model), "".join(held), args.window)
    step = max(1, len(windows) // 64)
    return [batch.to(device) for batch in torch.stack(windows[::step][:64]).split(16)] if windows else []


class Trainer:
    """The training loop and all that it must keep to go on."""

    def __init__(
        self, args: argparse.Namespace, routed: Routed, teacher: PreTrainedModel, is_lora: bool, device: torch.device
    ):
        self.args, self.routed, self.teacher, self.is_lora, self.device = args, routed, teacher, is_lora, device
        # From a start at which about as much is full as is allowed.
        start = torch.linspace(-1, 2, N_EFFORTS).reshape(-1, 1).repeat(1, 2)
        self.offsets = nn.Parameter(start.to(device))
        self.log_price = torch.full((N_EFFORTS,), -1.0, device=device)
        factors = [p for layer in routed.projections for q in layer.values() for p in (q.B, q.D, q.A) if p is not None]
        if is_lora:
            # D is the paper's C there: fitted, not trained.
            factors = [p for layer in routed.projections for q in layer.values() for p in (q.B, q.A)]
        routers = [*routed.routers.parameters(), self.offsets]
        for p in factors + routers:
            p.requires_grad_(True)
        self.groups = [{"params": factors, "lr": args.lr, "of": 1.0}, {"params": routers, "lr": 2 * args.lr, "of": 2.0}]
        self.optimizer = torch.optim.AdamW(self.groups, betas=(0.9, 0.99), weight_decay=0.0)
        self.step = 0
        self.path = args.out / "checkpoint.pt"

    def allowed(self, effort: float) -> float:
        """The share that an effort allows."""
        return self.args.least + (1 - self.args.least) * effort

    def save(self) -> None:
        state = {
            "routed": self.routed.state_dict(), "optimizer": self.optimizer.state_dict(), "offsets": self.offsets,
            "log_price": self.log_price, "step": self.step,
        }  # fmt: skip
        save_atomically(lambda file: torch.save(state, file), self.path)

    def resume(self) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location=self.device)
        self.routed.load_state_dict(state["routed"])
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            self.offsets.copy_(state["offsets"])
        self.log_price, self.step = state["log_price"], state["step"]
        print(f"goes on from step {self.step}")

    def report(self, held_out: list[torch.Tensor]) -> dict[str, dict[str, float]]:
        """Perplexity and shares of held-out text, all full and at the effort nearest to the default."""
        offsets = self.offsets.detach()[round(default_effort(self.args) * N_EFFORTS)]
        found = {}
        for name, decision in [("full", Decision("full")), ("routed", Decision("router", offsets))]:
            with self.routed.deciding(decision):
                found[name] = evaluate.score(self.routed, held_out[:2])
        self.routed.errors()  # Those of the report are none of the training's.
        return found

    def train(self, source, held_out: list[torch.Tensor]) -> None:
        """Runs to the last step."""
        args, routed = self.args, self.routed
        self.resume()
        for route in routed.routes:
            route.errors = []
        bar = tqdm(total=args.steps, initial=self.step, unit="step", mininterval=2)
        saved, means = time.monotonic(), {}
        for ids, labels in source(args.seed, self.step):
            if self.step >= args.steps:
                break
            rate = learning_rate(self.step, args.steps, warmup=50)
            for group in self.optimizer.param_groups:
                group["lr"] = args.lr * rate * group["of"]
            found = self.one(ids.to(self.device), labels.to(self.device))
            self.step += 1
            if self.is_lora and self.step % args.refit_every == 0:
                refit(routed)
            means = {k: v if k not in means else 0.97 * means[k] + 0.03 * v for k, v in found.items()}
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in means.items()})
            if self.step % 100 == 0 or self.step == args.steps:
                told = {"step": self.step} | {k: round(v, 4) for k, v in means.items()}
                tqdm.write(json.dumps(told | {"held_out": self.report(held_out)}))
            if time.monotonic() - saved > args.save_every:
                self.save()
                saved = time.monotonic()
        bar.close()
        self.save()
        for route in routed.routes:
            route.errors = None

    def one(self, ids: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One step; what it found."""
        args, n_rows = self.args, len(ids)
        rng = random.Random(f"{args.seed} {self.step} efforts")
        # With LoRA some windows stay all full, so that the dense model is trained as well.
        n_full = n_rows // 4 if self.is_lora else 0
        efforts = torch.tensor([rng.randrange(N_EFFORTS) for _ in range(n_rows)], device=self.device)
        is_full = torch.arange(n_rows, device=self.device) < n_full
        offsets = torch.where(is_full[:, None], ALL_FULL, self.offsets[efforts])
        noise = max(0.1, 1 - self.step / (0.8 * args.steps))
        with autocast(self.device):
            with torch.no_grad():
                wanted = self.teacher(input_ids=ids, use_cache=False).logits
            with self.routed.deciding(Decision("train", offsets, noise)):
                logits = self.routed(ids)
                compute, cache = self.routed.shares()
                error = self.routed.errors()
        counts = (labels != text.IGNORED).float()
        kl = F.kl_div(
            logits.float().log_softmax(-1), wanted.float().log_softmax(-1), log_target=True, reduction="none"
        ).sum(-1)
        # What a position predicts is the token after it.
        counts = F.pad(counts[:, 1:], (0, 1))
        kl = (kl * counts).sum(1) / counts.sum(1).clamp_min(1)
        budget = (1 - args.cache_weight) * compute + args.cache_weight * cache
        price = torch.where(is_full, 0, self.log_price.exp()[efforts])
        loss = (kl + price * budget).mean() + args.distil * error
        found = {
            "kl": kl[~is_full].mean().item(),
            "compute": compute[~is_full].mean().item(),
            "cache": cache[~is_full].mean().item(),
        }
        if self.is_lora:
            ce = F.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=text.IGNORED
            )
            loss = loss + ce
            found |= {"ce": ce.item(), "kl_full": kl[is_full].mean().item()}
        loss.backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for effort, row, full in zip(efforts.tolist(), budget.tolist(), is_full.tolist(), strict=True):
                if not full:
                    self.log_price[effort] += 0.1 * (row - self.allowed(effort / N_EFFORTS))
            self.log_price.clamp_(-6, 3)
        return found | {"error": error.item()}


@torch.no_grad()
def calibrate(routed: Routed, learned: torch.Tensor, held: list[torch.Tensor], allowed) -> list[dict]:
    """The learned offsets, each effort's moved until hard decisions take the compute that it allows."""
    learned = learned.detach()
    table = []
    for n in tqdm(range(N_EFFORTS), desc="offsets"):
        low, high = -8.0, 8.0
        for _ in range(11):
            shift = (low + high) / 2
            with routed.deciding(Decision("router", learned[n] + shift)):
                shares = []
                for ids in held:
                    routed.model.model(input_ids=ids, use_cache=False)  # Shares need no logits.
                    shares.append(routed.shares()[0].mean())
            if torch.stack(shares).mean() < allowed(n / N_EFFORTS):
                low = shift
            else:
                high = shift
        attention, ffn = (learned[n] + (low + high) / 2).tolist()
        table.append({"effort": n / N_EFFORTS, "attention": attention, "ffn": ffn})
    # From there to all full in a line.
    last = table[-1]
    table.append({"effort": 1.0, "attention": last["attention"] + 4, "ffn": last["ffn"] + 4})
    return table


def write(args: argparse.Namespace, routed: Routed, tokenizer, offsets: list[dict]) -> None:
    """The model, its tokenizer and its sidecar into `--out`."""
    if args.dense == "frozen":
        for path in args.model.iterdir():
            if (
                path.is_file()
                and path.suffix in (".json", ".safetensors", ".jinja", ".model")
                and not path.name.startswith("deputy.")
            ):
                shutil.copyfile(path, args.out / path.name)
    else:
        plain = AutoModelForCausalLM.from_config(routed.model.config)
        state = {
            k.replace("_proj.linear.", "_proj."): v
            for k, v in routed.model.state_dict().items()
            if not k.endswith(("_proj.A", "_proj.B", "_proj.D"))
        }
        plain.load_state_dict(state)
        plain.generation_config = routed.model.generation_config
        plain.save_pretrained(args.out)
        tokenizer.save_pretrained(args.out)
    made = {"by": "deputize", "dense": args.dense, "steps": args.steps, "tokens": args.steps * args.batch * args.window,
            "texts": [path.name for path in args.text], "target": args.target}  # fmt: skip
    sidecar.write(routed, args.out, offsets, round(default_effort(args), 3), args.cache, made)
    print(f"written to {args.out}")
