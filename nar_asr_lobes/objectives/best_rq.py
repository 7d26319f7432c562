"""BEST-RQ: predict the codes of masked frames, from frozen codebooks.

Chiu et al., https://arxiv.org/abs/2202.01855.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
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
from nar_asr_lobes.objectives.quantizer import (
    PROJECTIONS,
    RandomProjectionQuantizer,
)
from nar_asr_lobes.schema import require_count, require_number


@dataclass(frozen=True)
class BestRqOutput:
    """Predictions and targets of M frames.

    ``logits`` [M, codebooks, codes] and ``targets`` [M, codebooks]; ``soft``,
    the softmax of the similarities to the codes, shaped as the logits, or
    None; ``states`` [B, T, D] and their ``lengths`` [B].
    """

    logits: torch.Tensor
    targets: torch.Tensor
    soft: torch.Tensor | None
    states: torch.Tensor
    lengths: torch.Tensor


class BestRq(MaskedModel):
    """Encoder, frozen quantiser and a classifier of its codes.

    Arguments
    ---------
    config : ModelConfig
        The encoder's sizes.
    codebooks, codes : int
        As in ``RandomProjectionQuantizer``.
    soft_temperature : float, optional
        Temperature of the softmax over the cosines to the codes; None for no
        soft targets.
    projection : str
        As in ``RandomProjectionQuantizer``.

    Example
    -------
    >>> model = BestRq(ModelConfig.tiny(), codebooks=2, codes=64)
    >>> wavs, wav_lens = torch.randn(1, 16000), torch.ones(1)
    >>> mask = torch.zeros(1, 23, dtype=torch.bool)
    >>> mask[:, 5:15] = True
    >>> out = model(wavs, wav_lens, mask, torch.arange(5, 15))
    >>> out.logits.shape, out.targets.shape
    (torch.Size([10, 2, 64]), torch.Size([10, 2]))
    """

    def __init__(
        self,
        config: ModelConfig,
        codebooks: int = 1,
        codes: int = 1024,
        soft_temperature: float | None = None,
        projection: str = "random",
    ):
        super().__init__(config)
        self.codebooks = codebooks
        self.soft_temperature = soft_temperature
        self.quantizer = RandomProjectionQuantizer(
            self.encoder.frontend, codebooks, codes, projection=projection
        )
        self.classifier = nn.Linear(config.d_model, codebooks * codes)

    def forward(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        mask_fn: MaskFn | None = None,
    ) -> BestRqOutput:
        """Predict the codes of frames.

        Arguments
        ---------
        wavs : torch.Tensor
            16 kHz samples, shape [B, S].
        wav_lens : torch.Tensor
            Relative lengths in [0, 1], shape [B].
        mask : torch.Tensor
            True where a frame is masked, shape [B, T].
        positions : torch.Tensor
            The frames to predict, as indices into the flattened mask, shape
            [M]. Found on the CPU: on a GPU, nonzero() waits for its stream.
        mask_fn : callable, optional
            Masks the stem's features further (SpecAugment).

        Returns
        -------
        BestRqOutput
        """
        projected = self.quantizer.project(wavs, wav_lens)
        similarities = self.quantizer.similarities(_take(projected, positions))
        soft = None
        if self.soft_temperature is not None:
            soft = (similarities / self.soft_temperature).softmax(-1)
        subsampling = self.encoder.frontend.stem.subsampling
        frame_mask = FrameMask(mask, subsampling, before=mask_fn)
        states, lengths = self.encoder(wavs, wav_lens, frame_mask)
        logits = self.classifier(_take(states, positions))
        return BestRqOutput(
            logits=logits.unflatten(-1, (self.codebooks, -1)),
            targets=similarities.argmax(-1),
            soft=soft,
            states=states,
            lengths=lengths,
        )


def _take(frames: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Take frames [B, T, ...] at positions [M] of the flattened [B T]."""
    return frames.flatten(0, 1).index_select(0, positions)


class BestRqObjective(MaskedFrames):
    """Predict the codes of masked frames.

    With soft targets the loss is (1 - soft_weight) cross-entropy +
    soft_weight KL(soft || predicted). The Kullback-Leibler term is an idea of
    Baumann et al., https://arxiv.org/abs/2501.16131; taking it to the softmax
    of the cosines between projection and codes, and the weights, are ours.

    Arguments
    ---------
    mask_prob, mask_span :
        As in ``MaskedFrames``.
    codebooks, codes : int
        Frozen codebooks and the codes of each.
    spec_augment : SpecAugment, optional
        Further masks on the stem's features in training.
    soft_weight : float
        Weight of the soft targets; 0 for none.
    soft_temperature : float
        Temperature of their softmax; a low one is close to hard targets.
    projection : str
        Of the log-mel frames: ``"random"``, ``"pca"`` (Xu et al.,
        https://arxiv.org/abs/2606.30671) or ``"whitened"``, see
        ``RandomProjectionQuantizer``; the latter two are fitted to the audio
        of the first step and frozen.
    unmasked_loss_weight : float
        As in ``MaskedFrames``.

    Example
    -------
    >>> BestRqObjective(0.5, 10).weights
    {'best_rq': 1.0}
    >>> objective = BestRqObjective(0.5, 10, soft_weight=0.25)
    >>> objective.weights
    {'best_rq': 0.75, 'kl': 0.25}
    """

    score = "best_rq"
    # Predictions have no entry: for long they are of the commonest codes.
    remedies: ClassVar[Mapping[str, str]] = MaskedFrames.remedies | {
        "targets": "look for silence or noise among the audio"
    }

    def __init__(
        self,
        mask_prob: float,
        mask_span: int,
        codebooks: int = 4,
        codes: int = 1024,
        spec_augment: SpecAugment | None = None,
        soft_weight: float = 0.0,
        soft_temperature: float = 0.1,
        projection: str = "random",
        unmasked_loss_weight: float = 0.0,
    ):
        super().__init__(
            mask_prob, mask_span, spec_augment, unmasked_loss_weight
        )
        require_count("codebooks", codebooks)
        require_count("codes", codes, 2)
        require_number("soft_weight", soft_weight, 0.0, 1.0)
        require_number("soft_temperature", soft_temperature, 1e-3)
        if projection not in PROJECTIONS:
            raise UserError(
                f"projection is {projection!r}; choose from "
                + ", ".join(PROJECTIONS)
            )
        self.codebooks, self.codes = codebooks, codes
        self.projection = projection
        self.soft_temperature = soft_temperature if soft_weight else None
        self.targets = f"best_rq {projection} {codebooks}x{codes}"
        self.weights = {"best_rq": 1.0}
        if soft_weight:
            self.weights = {"best_rq": 1 - soft_weight, "kl": soft_weight}
        self.weights |= self.unmasked

    def build_model(self, config: ModelConfig) -> BestRq:
        """Build the encoder with its quantiser and classifier."""
        return BestRq(
            config,
            self.codebooks,
            self.codes,
            self.soft_temperature,
            self.projection,
        )

    def init_from_batch(
        self, model: BestRq, inputs: Sequence[MaskedInputs]
    ) -> None:
        """Fit a PCA or whitened projection that is not fitted yet."""
        quantizer = model.quantizer
        if self.projection == "random" or quantizer.fitted:
            return
        batches = [item.batch for item in inputs]
        local = sum(quantizer.moments(b.wavs, b.wav_lens) for b in batches)
        quantizer.fit(sum(gather_objects(local)))

    def make_inputs(
        self, batch: Batch, model: BestRq, progress: float = 0.0
    ) -> MaskedInputs:
        """Draw the masked spans of each utterance."""
        mask, valid = self.draw_masks(batch, model)
        positions = mask.flatten().nonzero().squeeze(1)
        masked = float(len(positions) * self.codebooks)
        counts = dict.fromkeys([*self.weights, "accuracy"], masked)
        counts |= count_spread(valid)
        if self.unmasked:
            unmasked = (valid & ~mask).flatten().nonzero().squeeze(1)
            counts["unmasked"] = float(len(unmasked) * self.codebooks)
            positions = torch.cat([positions, unmasked])
        mask_fn = draw_spec_augment(self.spec_augment, batch, model, progress)
        return MaskedInputs(batch, mask, counts, mask_fn, positions=positions)

    def losses(
        self, model: Callable, inputs: MaskedInputs, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses and hits over frames and codebooks."""
        output = model(*inputs.model_args(training))
        log_probs = output.logits.float().log_softmax(-1)
        losses = F.nll_loss(
            log_probs.flatten(0, 1), output.targets.flatten(), reduction="none"
        )
        predicted = int(inputs.counts["accuracy"])
        masked = predicted // self.codebooks  # masked frames come first
        predictions = log_probs[:masked].detach().argmax(-1)
        targets = output.targets[:masked]
        sums = {
            "best_rq": losses[:predicted].sum(),
            "accuracy": (predictions == targets).sum(),
            "targets": count_codes(targets, self.codes),
            "predictions": count_codes(predictions, self.codes),
        }
        if output.soft is not None:
            sums["kl"] = F.kl_div(
                log_probs[:masked], output.soft[:masked], reduction="sum"
            )
        if self.unmasked:
            sums["unmasked"] = losses[predicted:].sum()
        return sums | spread_sums(output.states, output.lengths)
