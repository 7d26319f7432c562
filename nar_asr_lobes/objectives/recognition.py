"""Supervised training: CTC, intermediate CTC and a conditional masked LM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.dataio.synthesis.phones import Lexicon
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import ErrorCounts, score
from nar_asr_lobes.lobes.masking import SpecAugment, draw_token_mask
from nar_asr_lobes.lobes.model import (
    EncoderOutput,
    ModelConfig,
    NarAsr,
    build_model,
)
from nar_asr_lobes.objectives.base import (
    ModelInputs,
    check_spec_augment,
    draw_spec_augment,
)
from nar_asr_lobes.objectives.ctc import (
    CtcTargets,
    ctc_feasible,
    log_frequencies,
)
from nar_asr_lobes.objectives.denominator import Denominator
from nar_asr_lobes.schema import require_count, require_number

_RAMP = 0.1  # fraction of the steps in which a further loss grows


def _cmlm_loss_sum(
    log_probs: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Sum the label-smoothed cross-entropy of masked tokens."""
    log_probs = log_probs[:, 1:]  # [M, V] without the blank
    hard = F.nll_loss(log_probs, targets - 1, reduction="sum")
    return (1 - smoothing) * hard - smoothing * log_probs.mean(-1).sum()


@dataclass(frozen=True, kw_only=True)
class _RecognitionInputs(ModelInputs):
    """Masked tokens, and the targets of the final and intermediate CTC.

    The scale of MMI grows from 0 to 1 in training.
    """

    ctc_targets: CtcTargets
    inter_ctc_targets: CtcTargets
    mmi_scale: float = 0.0


class RecognitionObjective:
    """CTC, intermediate CTC and a conditional masked language model.

    L = (1 - decoder_weight) [(1 - inter_weight) CTC + inter_weight mean of
    the intermediate CTCs] + decoder_weight CMLM, each per token (Higuchi et
    al., https://arxiv.org/abs/2005.08700; Lee and Watanabe,
    https://arxiv.org/abs/2102.03216).

    Arguments
    ---------
    tokenizer : Tokenizer
        Decodes hypotheses for the error rates in validation.
    decoder_weight, inter_weight : float
        As above. At a decoder_weight of 0 the model has no decoder; without
        intermediate layers the second must be 0.
    smoothing : float
        Label smoothing of the decoder.
    spec_augment : SpecAugment, optional
        Masks on the stem's features in training.
    lexicon : Lexicon, optional
        Phones as targets of the intermediate layers instead of the
        tokenizer's tokens; must contain every word of the data.
    mmi_weight : float
        m in (1 - m) CTC + m MMI, which replaces the final CTC; see
        ``denominator``. 0 for CTC alone.
    mmi_order : int
        Order of MMI's n-gram, 1 to 6. On a CPU, each adds to a step several
        times the time of the one before.
    mmi_start : float
        Fraction of the steps with CTC alone.
    texts : iterable of str
        Transcripts to estimate that n-gram from.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> objective = RecognitionObjective(CharTokenizer("ab"), 0.3, 0.5)
    >>> {k: round(v, 2) for k, v in objective.weights.items()}
    {'ctc': 0.35, 'inter_ctc': 0.35, 'cmlm': 0.3}
    """

    score = "cer"  # the lowest WER of a weak model is that of empty outputs
    remedies: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        tokenizer: Tokenizer,
        decoder_weight: float,
        inter_weight: float,
        smoothing: float = 0.1,
        spec_augment: SpecAugment | None = None,
        lexicon: Lexicon | None = None,
        mmi_weight: float = 0.0,
        mmi_order: int = 3,
        mmi_start: float = 0.2,
        texts: Iterable[str] = (),
    ):
        require_number("decoder_weight", decoder_weight, 0.0, 1.0)
        require_number("inter_weight", inter_weight, 0.0, 1.0)
        require_number("smoothing", smoothing, 0.0, 1.0)
        require_number("mmi_weight", mmi_weight, 0.0, 1.0)
        require_count("mmi_order", mmi_order, 1, 6)
        require_number("mmi_start", mmi_start, 0.0, 1.0)
        check_spec_augment(spec_augment)
        self.tokenizer = tokenizer
        self.smoothing = smoothing
        self.spec_augment = spec_augment
        self.lexicon = lexicon
        encoder_weight = 1 - decoder_weight
        self.weights = {
            "ctc": encoder_weight * (1 - inter_weight),
            "inter_ctc": encoder_weight * inter_weight,
        }
        if decoder_weight:
            self.weights["cmlm"] = decoder_weight
        self.mmi_order, self.mmi_start = mmi_order, mmi_start
        self.denominator = None
        if mmi_weight:
            self.weights["denominator"] = self.weights["ctc"] * mmi_weight
            self.denominator = Denominator.train(texts, tokenizer, mmi_order)

    def build_model(self, config: ModelConfig) -> NarAsr:
        """Build a recogniser whose output size is the tokenizer's.

        It has no decoder where the decoder has no weight. Raises UserError for
        a weight without the layers that it is for.
        """
        if self.weights["inter_ctc"] and not config.inter_ctc_layers:
            raise UserError(
                "objective: inter_weight is above 0, but the model has no "
                "inter_ctc_layers; set it to 0 or name some layers"
            )
        if "cmlm" not in self.weights:
            config = replace(config, decoder_layers=0)
        elif config.decoder_layers == 0:
            raise UserError(
                "objective: decoder_weight is above 0, but the model's "
                "decoder_layers is 0; set the weight to 0 or the layers to 1"
            )
        if self.lexicon is not None:
            config = replace(config, inter_vocab_size=self.lexicon.size)
        return build_model(config, self.tokenizer.size)

    def make_inputs(
        self, batch: Batch, model: NarAsr, progress: float = 0.0
    ) -> _RecognitionInputs:
        """Draw the masked tokens; drop utterances that CTC cannot align."""
        lengths = model.output_lengths(batch.samples)
        keep = ctc_feasible(batch.tokens, batch.token_lens, lengths)
        mask = draw_token_mask(
            batch.seeds, batch.token_lens, batch.tokens.shape[1]
        )
        mask = mask & keep[:, None]
        targets = CtcTargets(batch.tokens, batch.token_lens, keep)
        inter_targets = targets
        if self.lexicon is not None:
            inter_targets = self._phone_targets(batch, lengths, keep)
        inter_layers = len(model.config.inter_ctc_layers)
        counts = {
            "ctc": targets.count(),
            "inter_ctc": inter_targets.count() * inter_layers,
            "ctc_skipped": float(len(keep)),
            "wer": float(sum(len(text.split()) for text in batch.texts)),
            "cer": float(sum(map(len, batch.texts))),
        }
        if model.decoder is not None:
            counts["cmlm"] = counts["accuracy"] = float(mask.sum())
        if self.denominator is not None:
            counts["denominator"] = counts["ctc"]
        return _RecognitionInputs(
            batch,
            mask,
            counts,
            draw_spec_augment(self.spec_augment, batch, model, progress),
            ctc_targets=targets,
            inter_ctc_targets=inter_targets,
            mmi_scale=min(1.0, max(0.0, progress - self.mmi_start) / _RAMP),
        )

    def init_from_batch(
        self, model: NarAsr, inputs: Sequence[_RecognitionInputs]
    ) -> None:
        """Set the biases of new CTC heads to the first step's frequencies.

        Adam moves a bias by at most the learning rate in a step: otherwise
        the first updates only teach the network to emit blanks.
        """
        heads = {
            "ctc_targets": model.ctc_head,
            "inter_ctc_targets": model.inter_head,
        }
        for name, head in heads.items():
            if head is None or head.bias.any():  # taken over, not new
                continue
            local = sum(
                getattr(item, name).label_counts(
                    model.output_lengths(item.batch.samples), head.out_features
                )
                for item in inputs
            )
            counts = sum(gather_objects(local))
            with torch.no_grad():
                head.bias.copy_(log_frequencies(counts))

    def _phone_targets(
        self, batch: Batch, lengths: torch.Tensor, keep: torch.Tensor
    ) -> CtcTargets:
        rows = [self.lexicon.encode(text) for text in batch.texts]
        phone_lens = torch.tensor([len(row) for row in rows])
        phones = nn.utils.rnn.pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in rows],
            batch_first=True,
        ).to(lengths.device)
        phone_lens = phone_lens.to(lengths.device)
        keep = keep & ctc_feasible(phones, phone_lens, lengths)
        return CtcTargets(phones, phone_lens, keep)

    def losses(
        self, model: Callable, inputs: _RecognitionInputs, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses over tokens; in validation, also the errors."""
        batch, mask = inputs.batch, inputs.mask
        encoded, log_probs = model(
            batch.wavs,
            batch.wav_lens,
            batch.tokens,
            batch.token_lens,
            mask,
            inputs.mask_fn if training else None,
        )
        sums = {
            "ctc": inputs.ctc_targets.loss_sum(
                encoded.log_probs, encoded.lengths
            ),
            "inter_ctc": sum(
                (
                    inputs.inter_ctc_targets.loss_sum(inter, encoded.lengths)
                    for inter in encoded.inter_log_probs
                ),
                start=encoded.log_probs.new_zeros(()),
            ),
            "ctc_skipped": (~inputs.ctc_targets.keep).sum(),
        }
        if log_probs is not None:
            masked, targets = log_probs[mask], batch.tokens[mask]
            sums["cmlm"] = _cmlm_loss_sum(masked, targets, self.smoothing)
            sums["accuracy"] = (masked.detach().argmax(-1) == targets).sum()
        if self.denominator is not None:
            sums["denominator"] = self._denominator_sum(encoded, inputs)
        if not training:
            errors = self._errors(encoded, batch)
            sums["wer"] = torch.tensor(errors.word_errors)
            sums["cer"] = torch.tensor(errors.character_errors)
        return sums

    def _denominator_sum(
        self, encoded: EncoderOutput, inputs: _RecognitionInputs
    ) -> torch.Tensor:
        """Sum log Z over the utterances that CTC aligns, scaled."""
        log_probs = encoded.log_probs
        if not inputs.mmi_scale:
            return log_probs.new_zeros(())
        self.denominator = self.denominator.to(log_probs.device)
        log_z = self.denominator(log_probs, encoded.lengths)
        return inputs.mmi_scale * (log_z * inputs.ctc_targets.keep).sum()

    def _errors(self, encoded: EncoderOutput, batch: Batch) -> ErrorCounts:
        paths = greedy_paths(encoded.log_probs.float(), encoded.lengths)
        hypotheses = [self.tokenizer.decode(path.tokens) for path in paths]
        return score(batch.ids, batch.texts, hypotheses)
