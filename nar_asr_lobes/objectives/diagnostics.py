"""Statistics of a training and their collapse: codes in use, state spread.

Among their sums, objectives return scalars, which are divided by their counts
as losses are, and counts of codes [G, V] of G codebooks with V codes, which
are added up over micro-batches, steps and ranks and become numbers when
logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from speechbrain.utils.distributed import if_main_process

from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.lobes.lengths import valid_mask

logger = logging.getLogger(__name__)

_LOW_PERPLEXITY = 0.005  # relative to the number of possible codes
_LOW_SPREAD = 0.03  # about 1 at the start
_MIN_COUNTS = 20  # fewer say nothing about the codes in use


@dataclass
class Totals:
    """Sums and counts by name, and counts of codes by name [G, V]."""

    sums: dict[str, float | torch.Tensor] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    codes: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(
        self,
        sums: Mapping[str, float | torch.Tensor],
        counts: Mapping[str, float],
    ) -> None:
        """Add sums and their counts; a sum with dimensions is one of codes.

        Tensors stay on their device, so that nothing waits for it.
        """
        for name, value in sums.items():
            if getattr(value, "ndim", 0):
                self.codes[name] = self.codes.get(name, 0) + value
                continue
            if torch.is_tensor(value):
                value = value.detach().double()
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0.0) + counts[name]

    def add_step(self, averages: Mapping[str, float]) -> None:
        """Add a step's averages; for a skipped step only lr and skipped."""
        if averages["skipped"]:
            averages = {key: averages[key] for key in ("lr", "skipped")}
        self.add(averages, dict.fromkeys(averages, 1.0))

    def add_codes(self, others: Iterable[Totals]) -> None:
        """Add the codes alone, such as those of all ranks."""
        for other in others:
            self.add(other.codes, {})

    def cpu(self) -> Totals:
        """Copy, so that another rank can read it."""
        sums = {k: float(v) for k, v in self.sums.items()}
        codes = {k: v.cpu() for k, v in self.codes.items()}
        return replace(self, sums=sums, codes=codes)

    def of_all_ranks(self) -> Totals:
        """Add up the totals of all ranks."""
        everywhere = Totals()
        for part in gather_objects(self.cpu()):
            everywhere.add({**part.sums, **part.codes}, part.counts)
        return everywhere

    def ratios(self) -> dict[str, float]:
        """Return sum / count of every name with a count.

        Codes become ``<name>_perplexity`` and ``<name>_used``, the fraction
        of codes that occurred; both are means over the codebooks.
        """
        numbers = {
            name: float(self.sums[name]) / count
            for name, count in self.counts.items()
            if count
        }
        for name, counts in self.codes.items():
            if counts.any():
                numbers[f"{name}_perplexity"] = (
                    perplexities(counts).mean().item()
                )
                numbers[f"{name}_used"] = (counts > 0).float().mean().item()
        return numbers


def perplexities(counts: torch.Tensor) -> torch.Tensor:
    """Compute the perplexity of each codebook [G] from code counts [G, V].

    Example
    -------
    >>> perplexities(torch.tensor([[5.0, 5.0, 0.0], [9.0, 0.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    probabilities = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(probabilities).sum(-1).exp()


def spread_sums(
    states: torch.Tensor, lengths: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Measure how much, and in how many directions, the states vary in time.

    ``feature_std`` is the standard deviation of states [B, T, D] over an
    utterance's frames, averaged over D, relative to their root mean square: 0
    when all frames are equal, at most 1. ``feature_rank`` is the participation
    ratio of the eigenvalues e of their covariance, (sum e)^2 / sum e^2: 1 on a
    line, at most D, lower in short utterances. Both are without gradient, and
    to be divided by ``count_spread``.
    """
    states = states.detach().float()
    valid = valid_mask(lengths, states.shape[1]).unsqueeze(-1)
    count = lengths.clamp_min(1).view(-1, 1, 1)
    centred = (states - (states * valid).sum(1, keepdim=True) / count) * valid
    deviation = (centred.square().sum(1) / count[:, 0]).sqrt().mean(-1)
    size = ((states * valid).square().sum(1) / count[:, 0]).mean(-1).sqrt()
    # [T, T] and [D, D] products have the same eigenvalues: take the smaller.
    wide = centred.shape[1] < centred.shape[2]
    scatter = centred @ centred.mT if wide else centred.mT @ centred
    total = centred.square().sum((1, 2))
    rank = total.square() / scatter.square().sum((1, 2)).clamp_min(1e-12)
    return {
        "feature_std": (deviation / size.clamp_min(1e-6) * lengths).sum(),
        "feature_rank": (rank * lengths).sum(),
    }


def count_spread(valid: torch.Tensor) -> dict[str, float]:
    """Count the valid frames [B, T] that ``spread_sums`` is divided by."""
    return dict.fromkeys(("feature_std", "feature_rank"), float(valid.sum()))


def count_codes(
    codes: torch.Tensor, size: int, counted: torch.Tensor | None = None
) -> torch.Tensor:
    """Count each of ``size`` codes V in codes [..., G], shape [G, V].

    ``counted`` [...] marks the positions that count; default all.
    """
    rows = codes.flatten(0, -2).T
    ones = torch.ones(rows.shape, device=codes.device)
    if counted is not None:
        ones = ones * counted.flatten()
    counts = torch.zeros(len(rows), size, device=codes.device)
    return counts.scatter_add_(1, rows, ones)


def find_collapse(totals: Totals, remedies: Mapping[str, str]) -> str | None:
    """Describe a collapsed codebook or collapsed states, with the remedy.

    Only the statistics named in the objective's ``remedies`` are checked.

    Example
    -------
    >>> remedies = {"codes": "lower peak_lr"}
    >>> find_collapse(Totals(codes={"codes": torch.ones(2, 320)}), remedies)
    >>> one = torch.eye(320)[:1] * 5000
    >>> find_collapse(Totals(codes={"codes": one}), remedies)
    'codes: a perplexity of 1.0 where 320 are possible: lower peak_lr'
    """
    messages = []
    for name in totals.codes.keys() & remedies.keys():
        counts = totals.codes[name]
        total = int(counts[0].sum())
        if total < _MIN_COUNTS:
            continue
        possible = min(counts.shape[1], total)
        perplexity = perplexities(counts).min()  # one codebook is enough
        if perplexity < 1 + _LOW_PERPLEXITY * possible:
            messages.append(
                f"{name}: a perplexity of {perplexity:.1f} where {possible} "
                f"are possible: {remedies[name]}"
            )
    spread = totals.ratios().get("feature_std", torch.inf)
    if spread < _LOW_SPREAD and "feature_std" in remedies:
        messages.append(
            f"feature_std: the encoder's states are nearly the same in every "
            f"frame ({spread:.1e}): {remedies['feature_std']}"
        )
    return "; ".join(messages) or None


def warn_of_collapse(
    totals: Totals, remedies: Mapping[str, str], step: int, warmup: float
) -> None:
    """Log a collapse after the warm-up, on the main process."""
    message = find_collapse(totals, remedies)
    if message and step >= warmup and if_main_process():
        logger.warning("step %d: %s", step, message)
