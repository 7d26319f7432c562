"""Muon for the matrices of the layers, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """Muon for groups marked ``hidden``, AdamW for the others.

    Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that
    a step changes all directions equally (Jordan et al.,
    https://kellerjordan.github.io/posts/muon; torch's implementation). Its
    steps are scaled to the size of AdamW's (Liu et al.,
    https://arxiv.org/abs/2502.16982), so that both share a learning rate.

    Arguments
    ---------
    params : iterable of dict
        Parameter groups; see ``training.scheduler.parameter_groups``.
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
        groups = [{"hidden": False, **group} for group in params]
        hidden = [group for group in groups if group["hidden"]]
        others = [group for group in groups if not group["hidden"]]
        both = {"lr": lr, "weight_decay": weight_decay}
        self.parts: list[Optimizer] = []
        if hidden:
            scaled = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
            self.parts.append(Muon(hidden, **both, **scaled))
        if others:
            self.parts.append(AdamW(others, betas=betas, fused=True, **both))
        super().__init__(hidden + others, {})
        self._share()

    def _share(self) -> None:
        """Let both parts work on the groups and the state of the whole."""
        for part in self.parts:
            own = isinstance(part, Muon)
            part.state = self.state
            part.param_groups = [
                group for group in self.param_groups if group["hidden"] is own
            ]

    @torch.no_grad()
    def step(self) -> None:
        """Make a step of both."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up a saved state."""
        super().load_state_dict(state_dict)
        self._share()
