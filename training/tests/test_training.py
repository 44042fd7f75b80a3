"""A toy is trained for a few steps by each script, and the engine loads what they write: `DEPUTY=PROGRAM pytest`."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deputy_training import conversations, evaluate, sidecar, text
from deputy_training.deputize import load
from deputy_training.routing import Decision, Routed, merge, refit, uniform_ranks, whiten

ROOT = Path(__file__).parents[2]
DEPUTY = os.environ.get("DEPUTY", str(ROOT / "target/debug/deputy"))
EXACT = ["--device", "cpu", "--weights", "f32", "--kv", "f32"]

PROSE = " ".join(
    f"The {a} {b} {c} the {d}."
    for a in ("old", "red", "big")
    for b in ("cat", "dog")
    for c in ("saw", "has")
    for d in ("hat", "sea", "boat")
)


def train(*args: object) -> str:
    """Runs a command of the package."""
    command = [sys.executable, "-m", "deputy_training", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "training")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def deputy(*args: object) -> dict:
    """Runs the engine; its JSON."""
    done = subprocess.run([DEPUTY, *map(str, args), *EXACT, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, conversations and a pretrained toy."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "prose.txt").write_text(PROSE * 4)
    train("converse", "--out", folder / "conversations", "--train", 50, "--held-out", 40)
    train("pretrain", "--text", folder / "prose.txt", "--conversations", folder / "conversations", "--out", folder / "base",
          "--steps", 6, "--batch", 4, "--window", 64, "--dim", 32, "--layers", 3, "--ffn-dim", 64, "--heads", 4,
          "--kv-heads", 2, "--vocab", 400, "--context", 256)  # fmt: skip
    return folder


@pytest.mark.parametrize("dense", ["frozen", "lora"])
def test_what_deputize_writes_gives_the_engine_the_same_perplexity_and_routes(toy: Path, dense: str) -> None:
    out = toy / dense
    train("deputize", toy / "base", "--out", out, "--dense", dense, "--text", toy / "prose.txt", "--conversations",
          toy / "conversations", "--steps", 8, "--batch", 4, "--window", 64, "--width", 16, "--rank", 0.25)  # fmt: skip
    effort = json.loads((out / "deputy.json").read_text())["effort"]["default"]
    args = ["evaluate", out, toy / "prose.txt", "--window", 64]
    ours = [json.loads(line) for line in train(*args).splitlines()]
    assert [line["effort"] for line in ours] == [1.0, effort]
    assert ours[1]["compute"] < 0.9, "nothing was routed"
    for line in ours:
        theirs = deputy("perplexity", out, toy / "prose.txt", "--window", 64, "--effort", line["effort"])
        assert theirs["ppl"] == pytest.approx(line["perplexity"], rel=0.005)
        assert theirs["routes"]["compute"] == pytest.approx(line["compute"], abs=0.005)

    expected = [line.split() for line in train(*args, "--routes", "--efforts", effort, "--n-windows", 1).splitlines()]
    tokenizer = text.load_tokenizer(out)
    ids = evaluate.windows(tokenizer, text.first_tokens(tokenizer, out), (toy / "prose.txt").read_text(), 64)[0]
    found = deputy("routes", out, "--prompt-ids", ",".join(map(str, ids.tolist())), "--effort", effort)
    pairs = [
        (a, b)
        for line, token in zip(expected, found["tokens"], strict=True)
        for a, b in zip(line, token["layers"], strict=True)
    ]
    assert len({a for a, _ in pairs}) > 1, "one path for all would prove little"
    assert sum(a == b for a, b in pairs) >= 0.99 * len(pairs)


def test_frozen_weights_stay_and_an_interrupted_run_goes_on(toy: Path) -> None:
    out = toy / "halves"
    args = [
        "deputize",
        toy / "base",
        "--out",
        out,
        "--text",
        toy / "prose.txt",
        "--batch",
        2,
        "--window",
        32,
        "--width",
        0,
    ]
    train(*args, "--steps", 3)
    assert "goes on from step 3" in train(*args, "--steps", 5)
    assert (out / "model.safetensors").read_bytes() == (toy / "base/model.safetensors").read_bytes()
    assert json.loads((out / "deputy.json").read_text())["router"] == {"kind": "linear"}


def test_a_fitted_sidecar_is_a_start(toy: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    subprocess.run(["cp", "-r", str(toy / "base"), str(model)], check=True)
    fitted = subprocess.run(
        [DEPUTY, "fit", str(model), "--calib", str(toy / "prose.txt"), "--device", "cpu", "--dense-layers", "1"],
        capture_output=True,
        text=True,
    )
    assert fitted.returncode == 0, fitted.stderr
    out = train("deputize", model, "--out", tmp_path / "out", "--from-fit", "--text", toy / "prose.txt", "--steps", 2,
                "--batch", 2, "--window", 32, "--width", 16, "--dense-layers", 1)  # fmt: skip
    assert "starts from the fitted sidecar" in out
    # The first layer of the fit has no factors, and gets none.
    assert not sidecar.read(tmp_path / "out")["layers"][0]
    assert deputy("generate", tmp_path / "out", "-p", "The", "-n", 4, "--temp", 0)["ids"]


@torch.no_grad()
def test_outliers_change_activations_and_no_logits(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "outliers"
    train("outliers", toy / "base", "--out", out, "--share", 0.05)
    plain, spread = load(toy / "base"), load(out)
    ids = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(spread(ids).logits, plain(ids).logits, rtol=1e-3, atol=1e-3)
    a, b = (model.model.layers[1].input_layernorm.weight for model in (plain, spread))
    assert 0 < ((b / a - 30).abs() < 1e-3).sum() < 0.1 * len(a)
    assert deputy("generate", out, "-p", "The", "-n", 4, "--temp", 0)["ids"]


def test_a_quantised_copy_has_a_sidecar_of_its_own(toy: Path, tmp_path: Path) -> None:
    out = toy / "copied"
    args = ["--steps", 2, "--batch", 2, "--window", 32]
    train("deputize", toy / "base", "--out", out, "--text", toy / "prose.txt", *args)
    copy = tmp_path / "q8"
    command = [DEPUTY, "quantize", str(out), str(copy), "--weights", "q8"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sidecar.read(copy)["layers"] == sidecar.read(out)["layers"]
    (copy / "deputy.json").write_text((out / "deputy.json").read_text())
    with pytest.raises(SystemExit, match="made for another model"):
        sidecar.read(copy)


def test_no_held_out_case_is_trained_on(tmp_path: Path) -> None:
    def said(messages: list[dict]) -> tuple[str, ...]:
        return tuple(m["content"].lower().strip("?.! ") for m in messages if m["role"] == "user")

    # Enough that the questions of small families come up many times.
    conversations.write(tmp_path, 5000, 400, 3)
    lines = (tmp_path / "held_out.jsonl").read_text().splitlines()
    held = {said(json.loads(line)["messages"]) for line in lines}
    assert len(held) == len(lines) == 400, "no two are alike"
    lengths = {len(turns) for turns in held}
    for messages in text.read_conversations(tmp_path / "train.jsonl"):
        turns = said(messages)
        runs = (turns[i : i + n] for n in lengths for i in range(len(turns) - n + 1))
        assert held.isdisjoint(runs)


def test_expected_answers_pass_their_checks_and_others_do_not() -> None:
    cases = conversations.held_out(200, 7)
    assert all(conversations.right(case["check"], case["answer"]) for case in cases)
    rng = random.Random(1)
    others = [conversations.right(case["check"], rng.choice(cases)["answer"]) for case in cases]
    assert sum(others) < 0.1 * len(cases)
    check = {"exact": None, "all": ["4"], "some": [], "least": 1}
    assert conversations.right(check, "It has 4 legs.") and not conversations.right(check, "It has 14 legs.")


def test_only_what_the_assistant_says_is_learned(toy: Path) -> None:
    tokenizer = text.load_tokenizer(toy / "base")
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    ids, labels = text.encode_conversation(tokenizer, messages)
    assert ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    learned = [i for i in labels if i != text.IGNORED]
    assert tokenizer.decode(learned) == "Hello!<|im_end|>"


def routed(toy: Path, fraction: float) -> tuple[Routed, torch.Tensor]:
    model = load(toy / "base").requires_grad_(False)
    ids = torch.randint(0, 300, (4, 40), generator=torch.Generator().manual_seed(1))
    model = Routed(model, uniform_ranks(model, fraction), 16, 0, 0)
    whiten(model, [ids])
    return model, ids


@torch.no_grad()
def test_at_full_rank_low_is_full(toy: Path) -> None:
    model, ids = routed(toy, 1.0)
    with model.deciding(Decision("low")):
        low = model(ids)
    torch.testing.assert_close(low, model(ids), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_merging_lora_changes_no_output(toy: Path) -> None:
    model, ids = routed(toy, 0.25)
    for layer in model.projections:
        for p in layer.values():
            p.A = torch.nn.Parameter(0.1 * torch.randn_like(p.D))
            p.B += 0.1 * torch.randn_like(p.B)
    refit(model)

    def outputs() -> list[torch.Tensor]:
        found = [model(ids)]
        with model.deciding(Decision("low")):
            found.append(model(ids))
        return found

    before = outputs()
    # The paper's algebra: with C fitted, the low-rank branch is the merged weight in B's column space.
    p = model.projections[0]["down"]
    projected = p.B @ torch.linalg.pinv(p.B) @ p.merged()
    torch.testing.assert_close(p.B @ p.factor(), projected, rtol=1e-3, atol=1e-4)
    merge(model)
    for a, b in zip(before, outputs(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
