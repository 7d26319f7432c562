"""What a run learns from labelled audio, and what any objective gives.

An objective turns a batch into sums of losses and their counts. The trainer
adds the counts of all micro-batches on all ranks before the first backward
pass, so that every loss is divided by its global count. A name in ``weights``
is trained on; every other one is a statistic, reported as sum / count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.dataio.synthesis.phones import Lexicon
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.wer import ErrorCounts, score
from nar_asr_lobes.lobes.lengths import valid_mask
from nar_asr_lobes.lobes.masking import (
    FeatureMasker,
    SpecAugment,
    draw_token_mask,
)
from nar_asr_lobes.lobes.model import (
    Encoded,
    ModelConfig,
    NarAsr,
    build_model,
)
from nar_asr_lobes.objectives.ctc import (
    ctc_feasible,
    ctc_loss_sum,
    log_frequencies,
)
from nar_asr_lobes.objectives.masked import masked_token_loss_sum
from nar_asr_lobes.schema import require_number


@dataclass(frozen=True)
class CtcTargets:
    """Padded units [B, U], their number [B], and which rows CTC aligns [B]."""

    units: torch.Tensor
    unit_lens: torch.Tensor
    keep: torch.Tensor

    def count(self) -> float:
        """Count the units of the rows that CTC aligns."""
        return float((self.unit_lens * self.keep).sum())

    def unit_counts(self, lengths: torch.Tensor, size: int) -> torch.Tensor:
        """Count each of ``size`` units in those rows, [size] on the CPU.

        That of the blank, 0, is of the frames ([B] ``lengths``) without unit.
        """
        inside = valid_mask(self.unit_lens, self.units.shape[1])
        units = self.units[inside & self.keep[:, None]].cpu()
        counts = torch.bincount(units, minlength=size)
        counts[0] = int((lengths * self.keep).sum()) - len(units)
        return counts

    def loss_sum(
        self, log_probs: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Sum the CTC loss of log_probs [B, T, V] over those rows."""
        return ctc_loss_sum(
            log_probs, lengths, self.units, self.unit_lens, self.keep
        )


@dataclass(frozen=True)
class Prepared:
    """A batch with its random draws made and its counts known.

    ``mask`` is [B, T] over frames (pre-training) or [B, U] over slots (CMLM);
    ``counts`` are the denominators by name. Of labelled batches, ``spoken``
    are the targets of CTC and ``inter`` those of the intermediate layers.
    ``masker`` hides more of the stem's features while training.
    """

    batch: Batch
    mask: torch.Tensor
    counts: dict[str, float]
    spoken: CtcTargets | None = None
    inter: CtcTargets | None = None
    masker: FeatureMasker | None = None


def check_spec_augment(given: object) -> None:
    """Refuse what is no SpecAugment (``UserError``); None is for none.

    Example
    -------
    >>> check_spec_augment(True)
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: spec_augment is True; name a SpecAugment \
as in the recipe's YAML, or null
    """
    if not isinstance(given, SpecAugment | None):
        raise UserError(
            f"spec_augment is {given!r}; name a SpecAugment as in the "
            "recipe's YAML, or null"
        )


def draw_masker(
    spec_augment: SpecAugment | None, batch: Batch, model: nn.Module
) -> FeatureMasker | None:
    """Draw SpecAugment's masks for a batch, if there are to be any.

    Arguments
    ---------
    spec_augment : SpecAugment or None
        How many and how wide.
    batch : Batch
        Still where it was made, on the CPU.
    model : torch.nn.Module
        Whose ``encoder.frontend.stem`` gives the features.

    Returns
    -------
    callable or None

    Example
    -------
    >>> draw_masker(None, None, None)
    """
    if spec_augment is None:
        return None
    stem = model.encoder.frontend.stem
    lengths = stem.feature_lengths(batch.samples).tolist()
    return spec_augment.masker(batch.seeds, lengths, stem.feature_channels)


class Objective(Protocol):
    """What the trainer needs of an objective.

    ``weights`` are those of the losses; ``score`` names the statistic by
    which checkpoints are compared (lower is better). One of a pre-training
    has ``targets`` too: what is predicted, so that another run with the same
    can take the heads over.
    """

    weights: Mapping[str, float]
    score: str

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build the model that this objective trains."""

    def begin(self, model: nn.Module, prepared: Sequence[Prepared]) -> None:
        """Fit what is fitted to the first step's batches, just before it.

        All ranks come here, each with the micro-batches of its own.
        """

    def prepare(
        self, batch: Batch, model: nn.Module, done: float = 0.0
    ) -> Prepared:
        """Make the random draws of a batch and count its targets.

        The batch is still on the CPU; the trainer moves all that this gives.
        ``done`` is the share of the run's steps made before, for schedules.
        """

    def sums(
        self, model: Callable, prepared: Prepared, training: bool
    ) -> dict[str, torch.Tensor]:
        """Run the model; give sums, each with a count of its name."""


class RecognitionObjective:
    """CTC, intermediate CTC and masked-language-model training.

    L = (1 - decoder_weight) [(1 - inter_weight) CTC + inter_weight mean of
    the intermediate CTCs] + decoder_weight CMLM, each per token (Higuchi et
    al., https://arxiv.org/abs/2005.08700; Lee and Watanabe,
    https://arxiv.org/abs/2102.03216).

    Arguments
    ---------
    tokenizer : Tokenizer
        Turns hypotheses to text for the error rates in validation.
    decoder_weight, inter_weight : float
        As above; without intermediate layers the second must be 0.
    smoothing : float
        Label smoothing of the decoder.
    spec_augment : SpecAugment, optional
        Masks on the stem's features while training.
    lexicon : Lexicon, optional
        The intermediate layers learn its phones instead of the tokenizer's
        pieces; it has every word of the data.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> objective = RecognitionObjective(CharTokenizer("ab"), 0.3, 0.5)
    >>> {k: round(v, 2) for k, v in objective.weights.items()}
    {'ctc': 0.35, 'inter_ctc': 0.35, 'cmlm': 0.3}
    """

    # A weak model has the fewest word errors where it says nothing.
    score = "cer"

    def __init__(
        self,
        tokenizer: Tokenizer,
        decoder_weight: float,
        inter_weight: float,
        smoothing: float = 0.1,
        spec_augment: SpecAugment | None = None,
        lexicon: Lexicon | None = None,
    ):
        require_number("decoder_weight", decoder_weight, 0.0, 1.0)
        require_number("inter_weight", inter_weight, 0.0, 1.0)
        require_number("smoothing", smoothing, 0.0, 1.0)
        check_spec_augment(spec_augment)
        self.tokenizer = tokenizer
        self.smoothing = smoothing
        self.spec_augment = spec_augment
        self.lexicon = lexicon
        encoder_weight = 1 - decoder_weight
        self.weights = {
            "ctc": encoder_weight * (1 - inter_weight),
            "inter_ctc": encoder_weight * inter_weight,
            "cmlm": decoder_weight,
        }

    def build_model(self, config: ModelConfig) -> NarAsr:
        """Build a recogniser whose output size is the tokenizer's.

        Raises UserError for an inter_weight without intermediate layers.
        """
        if self.weights["inter_ctc"] and not config.inter_ctc_layers:
            raise UserError(
                "objective: inter_weight is above 0, but the model has no "
                "inter_ctc_layers; set it to 0 or name some layers"
            )
        if self.lexicon is not None:
            config = replace(config, inter_units=self.lexicon.size)
        return build_model(config, self.tokenizer.size)

    def prepare(
        self, batch: Batch, model: NarAsr, done: float = 0.0
    ) -> Prepared:
        """Draw the masked slots; leave out what CTC cannot align."""
        lengths = model.output_lengths(batch.samples)
        keep = ctc_feasible(batch.tokens, batch.token_lens, lengths)
        mask = draw_token_mask(
            batch.seeds, batch.token_lens, batch.tokens.shape[1]
        )
        mask = mask & keep[:, None]
        spoken = CtcTargets(batch.tokens, batch.token_lens, keep)
        inter = spoken
        if self.lexicon is not None:
            inter = self._phone_targets(batch, lengths, keep)
        taps = len(model.config.inter_ctc_layers)
        counts = {
            "ctc": spoken.count(),
            "inter_ctc": inter.count() * taps,
            "cmlm": float(mask.sum()),
            "accuracy": float(mask.sum()),
            "left_out": float(len(keep)),
            "wer": float(sum(len(text.split()) for text in batch.texts)),
            "cer": float(sum(map(len, batch.texts))),
        }
        masker = draw_masker(self.spec_augment, batch, model)
        return Prepared(batch, mask, counts, spoken, inter, masker)

    def begin(self, model: NarAsr, prepared: Sequence[Prepared]) -> None:
        """Let new CTC heads begin at the frequencies of the first step.

        An optimiser such as Adam moves a bias by its rate in a step, so that
        all layers would learn first, to say mostly blank whatever is heard.
        """
        heads = {"spoken": model.ctc_head, "inter": model.inter_head}
        for name, head in heads.items():
            if head is None or head.bias.any():  # not new
                continue
            mine = sum(
                getattr(item, name).unit_counts(
                    model.output_lengths(item.batch.samples), head.out_features
                )
                for item in prepared
            )
            counts = sum(gather_objects(mine))
            with torch.no_grad():
                head.bias.copy_(log_frequencies(counts))

    def _phone_targets(
        self, batch: Batch, lengths: torch.Tensor, keep: torch.Tensor
    ) -> CtcTargets:
        rows = [self.lexicon.encode(text) for text in batch.texts]
        unit_lens = torch.tensor([len(row) for row in rows])
        units = nn.utils.rnn.pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in rows],
            batch_first=True,
        ).to(lengths.device)
        unit_lens = unit_lens.to(lengths.device)
        keep = keep & ctc_feasible(units, unit_lens, lengths)
        return CtcTargets(units, unit_lens, keep)

    def sums(
        self, model: Callable, prepared: Prepared, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses over tokens; in validation, also the errors."""
        batch, mask = prepared.batch, prepared.mask
        encoded, log_probs = model(
            batch.wavs,
            batch.wav_lens,
            batch.tokens,
            batch.token_lens,
            mask,
            prepared.masker if training else None,
        )
        filled, targets = log_probs[mask], batch.tokens[mask]
        sums = {
            "ctc": prepared.spoken.loss_sum(encoded.log_probs, encoded.lengths),
            "inter_ctc": sum(
                (
                    prepared.inter.loss_sum(inter, encoded.lengths)
                    for inter in encoded.inter_log_probs
                ),
                start=encoded.log_probs.new_zeros(()),
            ),
            "cmlm": masked_token_loss_sum(filled, targets, self.smoothing),
            "accuracy": (filled.detach().argmax(-1) == targets).sum(),
            "left_out": (~prepared.spoken.keep).sum(),
        }
        if not training:
            errors = self._errors(encoded, batch)
            sums["wer"] = torch.tensor(errors.word_errors)
            sums["cer"] = torch.tensor(errors.character_errors)
        return sums

    def _errors(self, encoded: Encoded, batch: Batch) -> ErrorCounts:
        paths = greedy_paths(encoded.log_probs.float(), encoded.lengths)
        hypotheses = [self.tokenizer.decode(path.tokens) for path in paths]
        return score(batch.ids, batch.texts, hypotheses)
