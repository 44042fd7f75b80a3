"""Trains a small Llama and its tokenizer from nothing."""

import argparse
import json
import time
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import text
from .run import autocast, device_of, learning_rate, save_atomically


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="files of prose; the end of each is held out")
    parser.add_argument("--conversations", type=Path, help="folder that `converse` wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and its checkpoint")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=16, help="windows a step")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window")
    parser.add_argument("--chat-share", type=float, default=0.5, help="part of the windows that are conversations")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn-dim", type=int, default=704)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-every", type=float, default=300, help="seconds between checkpoints")
    parser.add_argument("--device", default="auto")


def run(args: argparse.Namespace) -> None:
    """Trains, or goes on from the checkpoint in `--out`."""
    if not args.text and not args.conversations:
        raise SystemExit("pretrain: --text or --conversations is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    device = device_of(args.device)
    train, held = text.read_texts(args.text)
    (args.out / "held_out.txt").write_text("".join(held), encoding="utf-8")
    said = text.read_conversations(args.conversations / "train.jsonl") if args.conversations else []

    if (args.out / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.out)
    else:
        spoken = ["\n".join(m["content"] for m in c) for c in said]
        tokenizer = text.train_tokenizer(train + spoken, args.vocab, args.context)
        tokenizer.save_pretrained(args.out)
    prose = text.Prose(tokenizer, train) if train else None
    chats = text.Chats(tokenizer, said) if said else None
    held_prose = text.Prose(tokenizer, held) if held else None

    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=args.dim,
            num_hidden_layers=args.layers,
            intermediate_size=args.ffn_dim,
            num_attention_heads=args.heads,
            num_key_value_heads=args.kv_heads,
            vocab_size=len(tokenizer),
            max_position_embeddings=args.context,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    ).to(device)
    # Muon for the matrices of the layers (Jordan et al., 2024), AdamW for the rest.
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    step = 0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, of in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(of)
        step = state["step"]
        print(f"goes on from step {step}")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    if prose is not None:
        print(f"prose: {len(prose.ids):,} tokens to train on, {len(held_prose.ids):,} held out")
    if chats is not None:
        print(f"conversations: {len(chats.ids):,} tokens")

    def save() -> None:
        state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "step": step}
        save_atomically(lambda file: torch.save(state, file), checkpoint)

    saved = time.monotonic()
    source = text.batches(prose, chats, args.chat_share, args.batch, args.window, args.seed, step)
    bar = tqdm(total=args.steps, initial=step, unit="step", mininterval=2)
    mean = None
    for ids, labels in source:
        if step >= args.steps:
            break
        rate = learning_rate(step, args.steps, warmup=100)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * rate
        with autocast(device):
            loss = model(input_ids=ids.to(device), labels=labels.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        bar.update()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        bar.set_postfix(loss=f"{mean:.3f}")
        if step % 200 == 0 or step == args.steps:
            report = {"step": step, "loss": round(mean, 4)}
            if held_prose is not None:
                report["held_out_prose"] = round(held_out_loss(model, held_prose, args.window, device), 4)
            tqdm.write(json.dumps(report))
        if time.monotonic() - saved > args.save_every:
            save()
            saved = time.monotonic()
    bar.close()
    save()
    # Low, since a small model's second choices are often wrong.
    model.generation_config.update(do_sample=True, temperature=0.5, top_k=0, top_p=0.9)
    model.to(torch.float32).save_pretrained(args.out)
    print(f"written to {args.out}")


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, prose: text.Prose, n: int, device: torch.device) -> float:
    """Mean loss of up to 32 windows spread over the held-out text."""
    starts = torch.linspace(0, max(0, len(prose.ids) - n - 1), 32).long().unique()
    ids = torch.stack([torch.from_numpy(prose.ids[s : s + n]).long() for s in starts]).to(device)
    losses = []
    for part in ids.split(8):
        with autocast(device):
            losses.append(model(input_ids=part, labels=part).loss.float())
    return torch.stack(losses).mean().item()
