"""Muon for the matrices of the layers, AdamW for all other parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.optim import AdamW, Optimizer

from nar_asr_lobes.schema import require_number
from nar_asr_lobes.training.device import has_fast_bf16

_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5


class MuonAdamW(Optimizer):
    """Muon for groups marked ``hidden``, AdamW for the others.

    Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that
    a step changes all directions equally (Jordan et al.,
    https://kellerjordan.github.io/posts/muon). Its steps are scaled to the size
    of AdamW's (Liu et al., https://arxiv.org/abs/2502.16982), so that both
    share a learning rate. As ``torch.optim.Muon`` with ``match_rms_adamw``,
    which works in bfloat16 always: on a CPU without it that takes 4 to 20 times
    as long.

    Arguments
    ---------
    params : iterable of dict
        Parameter groups; see ``training.optim.scheduler.parameter_groups``.
    lr : float
        Learning rate; the scheduler sets it at every step.
    betas : (float, float)
        AdamW's averages.
    weight_decay : float
        Of the groups that do not have one of their own.
    momentum : float
        Muon's, of Nesterov's kind.

    Example
    -------
    >>> matrix, bias = torch.nn.Parameter(torch.zeros(4, 4)), torch.zeros(4)
    >>> optimizer = MuonAdamW(
    ...     [{"params": [matrix], "hidden": True}, {"params": [bias]}], lr=0.1
    ... )
    >>> matrix.grad = torch.eye(4) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> optimizer.step()
    >>> bool((matrix.diagonal() < -0.02).all())
    True
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
        momentum: float = 0.95,
    ):
        require_number("momentum", momentum, 0, below=1)
        require_number("weight_decay", weight_decay, 0)
        groups = [{"hidden": False, **group} for group in params]
        both = {"lr": lr, "weight_decay": weight_decay}
        self.adamw = AdamW(groups, betas=betas, fused=True, **both)
        super().__init__(groups, {**both, "momentum": momentum})
        self._share()

    def _share(self) -> None:
        """Let AdamW work on its groups and on the state of the whole."""
        self.adamw.state = self.state
        self.adamw.param_groups = [
            group for group in self.param_groups if not group["hidden"]
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Make a step of both."""
        self.adamw.step()
        for group in self.param_groups:
            if group["hidden"]:
                self._step_matrices(group)

    def _step_matrices(self, group: dict) -> None:
        by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                by_shape.setdefault(weight.shape, []).append(weight)
        for (rows, columns), weights in by_shape.items():
            updates = orthogonalize(
                torch.stack([self._momentum(w, group) for w in weights])
            )
            rate = group["lr"] * 0.2 * math.sqrt(max(rows, columns))
            for weight, update in zip(weights, updates, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-rate)

    def _momentum(
        self, weight: torch.nn.Parameter, group: dict
    ) -> torch.Tensor:
        state, momentum = self.state[weight], group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(buffer, momentum)

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up a saved state."""
        super().load_state_dict(state_dict)
        self._share()


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Bring all singular values near 1 by Newton-Schulz iterations.

    Arguments
    ---------
    matrices : torch.Tensor
        Shape [N, rows, columns].

    Returns
    -------
    torch.Tensor
        Same shape and type; singular values between 0.7 and 1.2.

    Example
    -------
    >>> found = orthogonalize(torch.diag(torch.tensor([4.0, 2.0]))[None])
    >>> bool((found[0].diagonal() - 1 < 0.3).all())
    True
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT
    first, third, fifth = _COEFFICIENTS
    norms = matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    x = matrices / norms
    if has_fast_bf16(matrices.device):
        x = x.bfloat16()
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        change = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, change, x, beta=first)
    return x.to(matrices.dtype)
