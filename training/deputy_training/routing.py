"""Deputy's branches and routers on a Hugging Face Llama, Mistral or Qwen.

The model's own code runs as it is: each projection of a layer is wrapped so that it computes the full product, the
low-rank one or a mixture by the masks of its layer, which a hook at the layer's entry decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

ATTENTION = ("q", "k", "v", "o")
FFN = ("gate", "up", "down")
NAMES = ATTENTION + FFN


@dataclass
class Route:
    """The branches of a layer's tokens, as masks `[batch, tokens, 1]`; `None` where all are full."""

    attention_full: torch.Tensor | None = None
    ffn_full: torch.Tensor | None = None
    ffn_kept: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    """The router's five, `[batch, tokens, 5]`, without offsets."""
    errors: list[torch.Tensor] | None = None
    """Gathers the relative error of each low-rank product, where it is a list."""


class Projection(nn.Module):
    """A linear layer with low-rank factors beside it: `B·D·x`, with the layer's own bias."""

    def __init__(self, linear: nn.Linear, route: Route, is_ffn: bool, rank: int):
        super().__init__()
        d_out, d_in = linear.weight.shape
        self.linear = linear
        self.route = route
        self.is_ffn = is_ffn
        self.B = nn.Parameter(torch.zeros(d_out, rank))
        self.D = nn.Parameter(torch.zeros(rank, d_in))
        self.A: nn.Parameter | None = None
        """LoRA's, `[rank, d_in]`: the full product is then of `W + B·A`."""

    @property
    def rank(self) -> int:
        """Columns of B."""
        return self.B.shape[1]

    def merged(self) -> torch.Tensor:
        """The full product's matrix."""
        weight = self.linear.weight
        return weight if self.A is None else weight + self.B @ self.A

    def factor(self) -> torch.Tensor:
        """The low-rank product's right factor: the paper's `C + A` where there is LoRA, since D is then its C."""
        return self.D if self.A is None else self.D + self.A

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product that each token's branch asks for."""
        full = self.linear(x)
        if self.A is not None:
            full = full + F.linear(F.linear(x, self.A), self.B)
        mask = self.route.ffn_full if self.is_ffn else self.route.attention_full
        if mask is None:
            return full
        low = F.linear(F.linear(x, self.factor()), self.B, self.linear.bias)
        if self.route.errors is not None:
            off = (low - full).float().square().mean()
            self.route.errors.append(off / full.detach().float().square().mean().clamp_min(1e-12))
        mask = mask.to(full.dtype)
        return low + mask * (full - low)


class Router(nn.Module):
    """Five logits from the residual stream: attention full and low; FFN full, low and skipped."""

    def __init__(self, dim: int, width: int | None, eps: float):
        super().__init__()
        self.eps = eps
        self.norm = nn.Parameter(torch.ones(dim))
        self.hidden = nn.Parameter(torch.randn(width, dim) / dim**0.5) if width else None
        self.hidden_norm = nn.Parameter(torch.ones(width)) if width else None
        self.weight = nn.Parameter(torch.zeros(5, width or dim))
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[…, dim]` to `[…, 5]`, in f32."""
        with torch.autocast(x.device.type, enabled=False):
            h = F.rms_norm(x.float(), (x.shape[-1],), self.norm, self.eps)
            if self.hidden is not None:
                h = F.linear(h, self.hidden)
                h = F.silu(F.rms_norm(h, (h.shape[-1],), self.hidden_norm, self.eps))
            return F.linear(h, self.weight, self.bias)


@dataclass
class Decision:
    """How tokens find their branches."""

    mode: str = "full"
    """`full`, `low`, `router` (hard), or `train` (hard with noise, gradients of the soft choice)."""
    offsets: torch.Tensor | None = None
    """Added to the logits of the full branches: `[batch, 2]` or `[2]`, attention and FFN."""
    noise: float = 1.0
    """Part of the Gumbel noise, for `train`."""


class Routed(nn.Module):
    """A causal language model with a low-rank branch and a router in each layer."""

    def __init__(
        self,
        model: PreTrainedModel,
        ranks: list[dict[str, int]],
        width: int | None,
        dense_layers: int,
        dense_tokens: int,
    ):
        super().__init__()
        self.model = model
        self.dense_layers, self.dense_tokens, self.width = dense_layers, dense_tokens, width
        self.decision = Decision()
        config = model.config
        self.routes = [Route() for _ in model.model.layers]
        self.routers = nn.ModuleList()
        self.projections: list[dict[str, Projection]] = []
        for n, layer in enumerate(model.model.layers):
            wrapped = {}
            # A layer without factors, one of the first of a fit, stays full.
            for name in NAMES if ranks[n] else ():
                owner = layer.mlp if name in FFN else layer.self_attn
                linear = getattr(owner, f"{name}_proj")
                wrapped[name] = Projection(linear, self.routes[n], name in FFN, ranks[n][name])
                setattr(owner, f"{name}_proj", wrapped[name])
            self.projections.append(wrapped)
            self.routers.append(Router(config.hidden_size, width, config.rms_norm_eps))
            layer.register_forward_pre_hook(self._decide(n), with_kwargs=True)
            layer.mlp.register_forward_hook(self._skip(n))
        self.to(model.device)

    @property
    def ranks(self) -> list[dict[str, int]]:
        """By layer and projection."""
        return [{name: p.rank for name, p in layer.items()} for layer in self.projections]

    @contextmanager
    def deciding(self, decision: Decision) -> Iterator[None]:
        """Runs the model by `decision`."""
        before, self.decision = self.decision, decision
        try:
            yield
        finally:
            self.decision = before
            for route in self.routes:
                route.attention_full = route.ffn_full = route.ffn_kept = route.logits = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits `[batch, tokens, vocab]`."""
        return self.model(input_ids=ids, use_cache=False).logits

    def _decide(self, n: int):
        def hook(_layer: nn.Module, args: tuple, kwargs: dict) -> None:
            x = args[0] if args else kwargs["hidden_states"]
            route, decision = self.routes[n], self.decision
            route.attention_full = route.ffn_full = route.ffn_kept = route.logits = None
            if decision.mode == "full" or not self.projections[n]:
                return
            if n < self.dense_layers and decision.mode != "low":
                return
            route.attention_full, route.ffn_full, route.ffn_kept = self._masks(n, x)

        return hook

    def _skip(self, n: int):
        def hook(_mlp: nn.Module, _args: tuple, y: torch.Tensor) -> torch.Tensor:
            kept = self.routes[n].ffn_kept
            return y if kept is None else y * kept.to(y.dtype)

        return hook

    def _masks(self, n: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        decision = self.decision
        shape = (*x.shape[:2], 1)
        one, zero = torch.ones(shape, device=x.device), torch.zeros(shape, device=x.device)
        if decision.mode == "low":
            return zero, zero, one
        logits = self.routers[n](x)
        self.routes[n].logits = logits
        offsets = decision.offsets if decision.offsets is not None else torch.zeros(2, device=x.device)
        offsets = offsets.reshape(-1, 1, 2)
        a = torch.stack([logits[..., 0] + offsets[..., 0], logits[..., 1]], -1)
        f = torch.stack([logits[..., 2] + offsets[..., 1], logits[..., 3], logits[..., 4]], -1)
        a, f = self._choice(a), self._choice(f)
        attention, ffn, kept = a[..., :1], f[..., :1], 1 - f[..., 2:]
        first = (torch.arange(x.shape[1], device=x.device) < self.dense_tokens).reshape(1, -1, 1)
        return tuple(torch.where(first, one, mask) for mask in (attention, ffn, kept))

    def _choice(self, logits: torch.Tensor) -> torch.Tensor:
        """One-hot of the greatest; in training with Gumbel noise, and with the gradients of the softmax."""
        decision = self.decision
        if decision.mode == "train":
            uniform = torch.rand(logits.shape, device=logits.device).clamp(1e-6, 1 - 1e-6)
            logits = logits - decision.noise * torch.log(-torch.log(uniform))
        # Of equal ones the first, which is the fuller.
        hard = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        if decision.mode != "train":
            return hard
        soft = logits.softmax(-1)
        return hard + soft - soft.detach()

    def costs(self) -> tuple[float, float, float, float]:
        """Multiply-adds of a layer in parts of a full one: attention full, low; FFN full, low. The ranks of all layers
        that have factors are the same."""
        layer = next(layer for layer in self.projections if layer)

        def full(names: tuple[str, ...]) -> int:
            return sum(layer[n].linear.weight.numel() for n in names)

        def low(names: tuple[str, ...]) -> int:
            return sum(layer[n].B.numel() + layer[n].D.numel() for n in names)

        of = full(NAMES)
        return full(ATTENTION) / of, low(ATTENTION) / of, full(FFN) / of, low(FFN) / of

    def shares(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the tokens of the last forward pass took of the layers' multiply-adds and of a dense cache, for each
        row of the batch; with gradients in training."""
        a_full, a_low, f_full, f_low = self.costs()
        layer = next(layer for layer in self.projections if layer)
        latent = (layer["k"].rank + layer["v"].rank) / (2 * layer["k"].linear.weight.shape[0])
        compute, cache = [], []
        for route in self.routes:
            if route.attention_full is None:
                compute.append(torch.ones(1, device=self.model.device))
                cache.append(torch.ones(1, device=self.model.device))
                continue
            a, f, kept = (mask.mean((1, 2)) for mask in (route.attention_full, route.ffn_full, route.ffn_kept))
            compute.append(a * a_full + (1 - a) * a_low + f * f_full + (kept - f) * f_low)
            cache.append(a + (1 - a) * latent)
        rows = max(len(c) for c in compute)
        return tuple(torch.stack([s.expand(rows) for s in of]).mean(0) for of in (compute, cache))

    def errors(self) -> torch.Tensor:
        """The mean relative error of the low-rank products since it was last asked."""
        all_errors = [error for route in self.routes for error in route.errors or []]
        for route in self.routes:
            route.errors = []
        return torch.stack(all_errors).mean() if all_errors else torch.zeros((), device=self.model.device)


def uniform_ranks(model: PreTrainedModel, fraction: float) -> list[dict[str, int]]:
    """For each projection the rank nearest to `fraction` of its smaller side: a multiple of 32, or of 4 below that."""

    def rank(linear: nn.Linear) -> int:
        side = min(linear.weight.shape)
        step = 32 if fraction * side >= 32 else 4
        # Halves go up, as the engine's do.
        return min(max(4, int(fraction * side / step + 0.5) * step), side // 4 * 4)

    return [
        {n: rank(getattr(layer.mlp if n in FFN else layer.self_attn, f"{n}_proj")) for n in NAMES}
        for layer in model.model.layers
    ]


@torch.no_grad()
def whiten(routed: Routed, batches: Iterator[torch.Tensor]) -> None:
    """Starts B and D from the best maps of their rank in output error: `U_r` of `W·L`, with `L·Lᵀ = E[x·xᵀ]` over the
    batches of ids, and `D = U_rᵀ·W`."""
    moments: dict[Projection, torch.Tensor] = {}
    hooks = []
    for layer in routed.projections:
        for projection in layer.values():

            def add(p: Projection, args: tuple) -> None:
                x = args[0].flatten(0, -2).double()
                moments[p] = moments.get(p, 0) + x.T @ x

            hooks.append(projection.register_forward_pre_hook(add))
    for ids in batches:
        routed(ids)
    for hook in hooks:
        hook.remove()
    for projection, moment in moments.items():
        weight = projection.merged().double()
        damped = moment + torch.eye(len(moment), device=moment.device) * (1e-6 * moment.trace() / len(moment))
        u = torch.linalg.svd(weight @ torch.linalg.cholesky(damped), full_matrices=False).U[:, : projection.rank]
        projection.B.copy_(u)
        projection.D.copy_(u.T @ weight)


@torch.no_grad()
def refit(routed: Routed) -> None:
    """D anew by least squares for the B of now: the paper's C, with `B·C ≈ W`. LoRA's B may be badly conditioned, so
    small singular values are cut."""
    for layer in routed.projections:
        for p in layer.values():
            p.D.copy_(torch.linalg.pinv(p.B.double(), rtol=1e-6) @ p.linear.weight.double())


@torch.no_grad()
def merge(routed: Routed) -> None:
    """LoRA's part goes into the weights, and D takes what it adds: all outputs stay."""
    for layer in routed.projections:
        for p in layer.values():
            if p.A is not None:
                p.D.copy_(p.factor())
                p.linear.weight.copy_(p.merged())
                p.A = None
