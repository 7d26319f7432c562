"""wav2vec 2.0: tell a masked frame's quantised features from other frames'.

wavs [B, S] -> stem features -> masked frames zeroed -> SpeechEncoder -> states
                    |                                         |
                    +-> unmasked frames -> Gumbel quantiser   +-> contexts
                                             -> targets           [B, N, P]

Baevski et al., https://arxiv.org/abs/2006.11477. Letters: B utterances, N
predicted frames of the longest of them, P width of the compared vectors, G
groups of V codes.

Unlike the paper, which replaces finished frames by a learned vector, masking
zeroes every stem feature that a masked frame reads, before the subsampling
convolutions: frames of the Gabor stem share 9 of their 13 features, so that
unmasked neighbours would reveal the edges of a span. The targets need a second
pass of the subsampling, a small part of the stem (none with wav2vec 2.0's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.dataio.seeds import Stream, generator
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import FrameMask, MaskFn, SpecAugment
from nar_asr_lobes.lobes.model import ModelConfig
from nar_asr_lobes.objectives.base import (
    MaskedFrames,
    MaskedInputs,
    MaskedModel,
    draw_spec_augment,
)
from nar_asr_lobes.objectives.diagnostics import (
    count_codes,
    count_spread,
    spread_sums,
)
from nar_asr_lobes.objectives.quantizer import GumbelQuantizer
from nar_asr_lobes.schema import require_count, require_number


def _draw_distractors(
    seeds: Sequence[int], counts: Sequence[int], number: int
) -> torch.Tensor:
    """Draw ``number`` distractors for each predicted frame."""
    # Result [B, N, N]: how often frame j was drawn for frame i, other than i,
    # with replacement. The loss needs no more, so no similarities are gathered.
    size = max(1, *counts)
    table = np.zeros((len(counts), size, size), dtype=np.int16)
    for rows, seed, count in zip(table, seeds, counts, strict=True):
        if count == 0:
            continue
        rng = generator(seed, Stream.DISTRACTORS)
        own = np.arange(count)[:, None]
        drawn = rng.integers(0, count - 1, (count, number), dtype=np.int32)
        pairs = own * count + drawn + (drawn >= own)  # never itself
        times = np.bincount(pairs.ravel(), minlength=count * count)
        rows[:count, :count] = times.reshape(count, count)
    return torch.from_numpy(table)


def _info_nce(
    contexts: torch.Tensor,
    targets: torch.Tensor,
    codes: torch.Tensor,
    distractors: torch.Tensor,
    temperature: float = 0.1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute -log softmax(cosine / temperature) of each frame's own target."""
    with torch.autocast(contexts.device.type, enabled=False):
        contexts = F.normalize(contexts.float(), dim=-1)
        targets = F.normalize(targets.float(), dim=-1)
        logits = contexts @ targets.mT / temperature  # [B, N, N]
    # Distractors with the target's codes are ignored. Codes are compared, not
    # vectors, which may differ by rounding.
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    times = distractors.masked_fill(same, 0)
    others = times > 0
    own = logits.diagonal(dim1=1, dim2=2)
    # A distractor drawn n times is n terms of the sum of exponentials.
    weighted = logits + times.clamp_min(1).log()
    kept = others | torch.eye(
        logits.shape[1], dtype=torch.bool, device=logits.device
    )
    total = weighted.masked_fill(~kept, -torch.inf).logsumexp(-1)
    best = logits.detach().masked_fill(~others, -torch.inf).amax(-1)
    hits = (own.detach() > best) & others.any(-1)
    return total - own, hits


def _diversity_loss(probabilities: torch.Tensor) -> torch.Tensor:
    """Compute (G V - sum of the groups' perplexities) / (G V)."""
    # probabilities [G, V]: 0 if all codes are used equally, 1 - 1/V if one is
    entropy = -torch.xlogy(probabilities, probabilities + 1e-7).sum(-1)
    return 1 - entropy.exp().sum() / probabilities.numel()


@dataclass(frozen=True)
class Wav2Vec2Output:
    """Contexts and targets of the predicted frames.

    ``contexts`` and ``targets`` [B, N, P]; ``codes`` [B, N, G] of the targets;
    ``probabilities`` [G, V], the softmax over the codes averaged over masked
    frames; ``penalty``, the mean square of the stem's frames summed over valid
    ones; ``states`` [B, T, D] and their ``lengths`` [B].
    """

    contexts: torch.Tensor
    targets: torch.Tensor
    codes: torch.Tensor
    probabilities: torch.Tensor
    penalty: torch.Tensor
    states: torch.Tensor
    lengths: torch.Tensor


class Wav2Vec2(MaskedModel):
    """Encoder and Gumbel quantiser of wav2vec 2.0.

    Arguments
    ---------
    config : ModelConfig
        The encoder's sizes.
    groups, codes, code_dim : int
        As in ``GumbelQuantizer``.
    width : int
        P, width of the compared vectors.

    Example
    -------
    >>> model = Wav2Vec2(ModelConfig.tiny(), 2, 8, code_dim=4, width=16)
    >>> wavs, wav_lens = torch.randn(1, 16000), torch.ones(1)
    >>> mask = torch.zeros(1, 23, dtype=torch.bool)
    >>> mask[:, 5:15] = True
    >>> out = model(wavs, wav_lens, mask, torch.arange(5, 15)[None])
    >>> out.contexts.shape, out.targets.shape, out.codes.shape
    (torch.Size([1, 10, 16]), torch.Size([1, 10, 16]), torch.Size([1, 10, 2]))
    """

    def __init__(
        self,
        config: ModelConfig,
        groups: int = 2,
        codes: int = 320,
        code_dim: int = 128,
        width: int = 256,
    ):
        super().__init__(config)
        self.quantizer = GumbelQuantizer(
            config.stem_channels, groups, codes, code_dim
        )
        self.target = nn.Linear(groups * code_dim, width)
        self.context = nn.Linear(config.d_model, width)

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        mask_fn: MaskFn | None = None,
        temperature: float | None = None,
    ) -> Wav2Vec2Output:
        """Compute contexts and targets.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask : torch.Tensor
            True where a frame is masked, shape [B, T].
        positions : torch.Tensor
            The frames to predict, shape [B, N], padded with others.
        mask_fn : callable, optional
            Masks the stem's features further (SpecAugment).
        temperature : float, optional
            See ``GumbelQuantizer``.

        Returns
        -------
        Wav2Vec2Output
        """
        frontend = self.encoder.frontend
        frame_mask = FrameMask(mask, frontend.stem.subsampling, before=mask_fn)
        unmasked = []

        def keep_and_mask(features: torch.Tensor) -> torch.Tensor:
            unmasked.append(frontend.stem.subsample(features).mT)
            return frame_mask(features)

        states, lengths = self.encoder(wavs, wav_lens, keep_and_mask)
        [frames] = unmasked  # [B, T, C], without any mask
        quantized = self.quantizer(
            frontend.norm(_take(frames, positions)), temperature
        )
        masked = mask.gather(1, positions)
        used = quantized.probabilities * masked[..., None, None]
        squares = frames.float().square().mean(-1)
        return Wav2Vec2Output(
            contexts=self.context(_take(states, positions)),
            targets=self.target(quantized.vectors),
            codes=quantized.codes,
            probabilities=used.sum((0, 1)) / masked.sum().clamp_min(1),
            penalty=(squares * valid_mask(lengths, squares.shape[1])).sum(),
            states=states,
            lengths=lengths,
        )


def _take(frames: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Take frames [B, T, D] at positions [B, N]."""
    index = positions.unsqueeze(-1).expand(-1, -1, frames.shape[-1])
    return frames.gather(1, index)


@dataclass(frozen=True, kw_only=True)
class _ContrastiveInputs(MaskedInputs):
    """Masked frames, their distractors and the Gumbel temperature."""

    distractors: torch.Tensor
    temperature: float


class Wav2Vec2Objective(MaskedFrames):
    """Identify each masked frame's quantised features among distractors.

    loss = contrastive + diversity_weight diversity + penalty_weight penalty,
    each per masked frame (the penalty per valid frame). The diversity is that
    of a micro-batch: it alone depends on how a step is split. fairseq also
    scales the stem's gradient by 0.1 and gives the penalty a weight of 10 in
    Base; here the stem has the learning rate of the rest.

    A collapse to one code makes the contrastive loss, the score, 0: see
    ``remedies`` and ``find_collapse``.

    Arguments
    ---------
    mask_prob, mask_span :
        As in ``MaskedFrames``.
    negatives : int
        Distractors of a masked frame, of the same utterance.
    groups, codes, code_dim : int
        Codebooks, codes of each, and the width of a code vector.
    width : int
        Width of the compared vectors.
    temperature : float
        Temperature of the contrastive softmax.
    gumbel_start, gumbel_end, gumbel_ratio : float
        The Gumbel temperature decays exponentially from start to end in this
        fraction of the run (the paper's 0.999995 a step is 0.7 of its 400,000
        steps). Validation has no noise.
    diversity_weight : float
        Weight of the diversity loss.
    penalty_weight : float
        Weight of the mean square of the stem's frames; 0 for none.
    spec_augment : SpecAugment, optional
        Further masks on the stem's features in training, not on the targets.
    unmasked_loss_weight : float
        As in ``MaskedFrames``. Above 0, all other frames of the utterance are
        candidate distractors, not only masked ones.

    Example
    -------
    >>> objective = Wav2Vec2Objective(0.65, 10)
    >>> objective.weights
    {'contrastive': 1.0, 'diversity': 0.1, 'penalty': 0.0}
    >>> [round(objective.gumbel(x), 2) for x in (0.0, 0.35, 0.7, 1.0)]
    [2.0, 1.0, 0.5, 0.5]
    """

    score = "contrastive"
    remedies: ClassVar[Mapping[str, str]] = MaskedFrames.remedies | {
        "codes": "raise diversity_weight, lower peak_lr or gumbel_start"
    }

    def __init__(
        self,
        mask_prob: float,
        mask_span: int,
        negatives: int = 100,
        groups: int = 2,
        codes: int = 320,
        code_dim: int = 128,
        width: int = 256,
        temperature: float = 0.1,
        gumbel_start: float = 2.0,
        gumbel_end: float = 0.5,
        gumbel_ratio: float = 0.7,
        diversity_weight: float = 0.1,
        penalty_weight: float = 0.0,
        spec_augment: SpecAugment | None = None,
        unmasked_loss_weight: float = 0.0,
    ):
        super().__init__(
            mask_prob, mask_span, spec_augment, unmasked_loss_weight
        )
        require_count("negatives", negatives, 1, 10_000)
        require_count("groups", groups)
        require_count("codes", codes, 2)
        require_count("code_dim", code_dim)
        require_count("width", width)
        require_number("temperature", temperature, 1e-3)
        require_number("gumbel_end", gumbel_end, 1e-3)
        require_number("gumbel_start", gumbel_start, gumbel_end)
        require_number("gumbel_ratio", gumbel_ratio, 1e-3, 1.0)
        require_number("diversity_weight", diversity_weight, 0.0)
        require_number("penalty_weight", penalty_weight, 0.0)
        self.negatives, self.temperature = negatives, temperature
        self.sizes = (groups, codes, code_dim, width)
        self.targets = f"wav2vec2 {groups}x{codes}x{code_dim} to {width}"
        self.gumbel_start, self.gumbel_end = gumbel_start, gumbel_end
        self.gumbel_ratio = gumbel_ratio
        self.weights = {
            "contrastive": 1.0,
            "diversity": diversity_weight,
            "penalty": penalty_weight,
            **self.unmasked,
        }

    def build_model(self, config: ModelConfig) -> Wav2Vec2:
        """Build the encoder with its quantiser."""
        return Wav2Vec2(config, *self.sizes)

    def gumbel(self, progress: float) -> float:
        """Return the Gumbel temperature after a fraction of the run."""
        decayed = min(1.0, progress / self.gumbel_ratio)
        start, end = self.gumbel_start, self.gumbel_end
        return start * (end / start) ** decayed

    def make_inputs(
        self, batch: Batch, model: Wav2Vec2, progress: float = 0.0
    ) -> _ContrastiveInputs:
        """Draw masked spans and distractors."""
        mask, valid = self.draw_masks(batch, model)
        predicted = valid if self.unmasked else mask
        # A single frame has no distractors.
        predicted = predicted & (predicted.sum(1, keepdim=True) > 1)
        mask = mask & predicted
        table = _draw_distractors(
            batch.seeds, predicted.sum(1).tolist(), self.negatives
        )
        order = predicted.int() + mask.int()  # masked, unmasked, padding
        positions = order.argsort(dim=1, descending=True, stable=True)
        per_masked = ("contrastive", "diversity", "accuracy")
        masked = float(mask.sum())
        counts = dict.fromkeys(per_masked, masked) | count_spread(valid)
        counts["penalty"] = float(valid.sum())
        if self.unmasked:
            counts["unmasked"] = float(predicted.sum()) - masked
        return _ContrastiveInputs(
            batch,
            mask,
            counts,
            draw_spec_augment(self.spec_augment, batch, model, progress),
            positions=positions[:, : table.shape[1]],
            distractors=table,
            temperature=self.gumbel(progress),
        )

    def losses(
        self, model: Callable, inputs: _ContrastiveInputs, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses and the hits over frames."""
        temperature = inputs.temperature if training else None
        output = model(*inputs.model_args(training), temperature)
        loss, hits = _info_nce(
            output.contexts,
            output.targets,
            output.codes,
            inputs.distractors,
            self.temperature,
        )
        diversity = _diversity_loss(output.probabilities)
        masked = inputs.mask.gather(1, inputs.positions)
        sums = {
            "contrastive": (loss * masked).sum(),
            "diversity": diversity * inputs.counts["diversity"],
            "penalty": output.penalty,
            "accuracy": (hits & masked).sum(),
            "codes": count_codes(output.codes, self.sizes[1], masked),
        }
        if self.unmasked:
            sums["unmasked"] = (loss * ~masked).sum()
        return sums | spread_sums(output.states, output.lengths)
