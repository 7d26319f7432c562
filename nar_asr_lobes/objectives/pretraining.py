"""What a run learns from unlabelled audio: BEST-RQ or wav2vec 2.0.

Both hide spans of frames and are asked what was there: BEST-RQ for the codes
of frozen codebooks, wav2vec 2.0 for the right one among quantised frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.distributed import gather_objects
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.lobes.model import ModelConfig
from nar_asr_lobes.objectives.best_rq import BestRq
from nar_asr_lobes.objectives.contrastive import (
    contrast_frames,
    draw_distractors,
    unused_share,
)
from nar_asr_lobes.objectives.diagnostics import (
    count_codes,
    count_spread,
    spread_sums,
)
from nar_asr_lobes.objectives.masked_frames import HiddenFrames, PreparedFrames
from nar_asr_lobes.objectives.quantizer import PROJECTIONS
from nar_asr_lobes.objectives.recognition import draw_masker
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2
from nar_asr_lobes.schema import require_count, require_number


class BestRqObjective(HiddenFrames):
    """Predict the codes of hidden frames.

    Chiu et al., https://arxiv.org/abs/2202.01855. With soft targets the loss
    is (1 - soft_weight) cross-entropy + soft_weight KL(soft || predicted).
    Adding a Kullback-Leibler term is an idea of Baumann et al.,
    https://arxiv.org/abs/2501.16131; that it is taken to the softmax of the
    cosines between projection and codes, and the weights, are ours.

    Arguments
    ---------
    mask_share : float
        Sum of span lengths over an utterance's length.
    mask_span : int
        Frames of a span.
    codebooks, codes : int
        Frozen codebooks and the codes of each.
    spec_augment : SpecAugment, optional
        More masks on the stem's features while training.
    soft_weight : float
        Of the soft targets; 0 for none.
    soft_temperature : float
        Of their softmax; the lower, the nearer they are to the hard ones.
    projection : str
        Of the log-mel frames: ``"random"``, ``"pca"`` (Xu et al.,
        https://arxiv.org/abs/2606.30671) or ``"whitened"``, see
        ``RandomProjectionQuantizer``; the latter two are fitted to the audio
        of the first step and frozen.
    visible_weight : float
        As in ``HiddenFrames``.

    Example
    -------
    >>> BestRqObjective(0.5, 10).weights
    {'best_rq': 1.0}
    >>> BestRqObjective(0.5, 10, soft_weight=0.25, visible_weight=1.0).weights
    {'best_rq': 0.75, 'kl': 0.25, 'visible': 1.0}
    """

    score = "best_rq"

    def __init__(
        self,
        mask_share: float,
        mask_span: int,
        codebooks: int = 4,
        codes: int = 1024,
        spec_augment: SpecAugment | None = None,
        soft_weight: float = 0.0,
        soft_temperature: float = 0.1,
        projection: str = "random",
        visible_weight: float = 0.0,
    ):
        super().__init__(mask_share, mask_span, spec_augment, visible_weight)
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
        self.weights |= self.visible

    def build_model(self, config: ModelConfig) -> BestRq:
        """Build the encoder with targets and classifiers."""
        return BestRq(
            config,
            self.codebooks,
            self.codes,
            self.soft_temperature,
            self.projection,
        )

    def begin(self, model: BestRq, prepared: Sequence[PreparedFrames]) -> None:
        """Fit the projection, if it is one to be fitted and not yet is."""
        quantizer = model.quantizer
        if self.projection == "random" or quantizer.fitted:
            return
        batches = [item.batch for item in prepared]
        mine = sum(quantizer.moments(b.wavs, b.wav_lens) for b in batches)
        quantizer.fit(sum(gather_objects(mine)))

    def prepare(
        self, batch: Batch, model: BestRq, done: float = 0.0
    ) -> PreparedFrames:
        """Draw the hidden spans of each utterance."""
        mask, valid = self.draw(batch, model)
        places = mask.flatten().nonzero().squeeze(1)
        guesses = float(len(places) * self.codebooks)
        counts = dict.fromkeys([*self.weights, "accuracy"], guesses)
        counts |= count_spread(valid)
        if self.visible:
            visible = (valid & ~mask).flatten().nonzero().squeeze(1)
            counts["visible"] = float(len(visible) * self.codebooks)
            places = torch.cat([places, visible])
        masker = draw_masker(self.spec_augment, batch, model)
        return PreparedFrames(batch, mask, counts, masker=masker, places=places)

    def sums(
        self, model: Callable, prepared: PreparedFrames, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses and hits over frames and codebooks."""
        output = model(*prepared.inputs(training))
        log_probs = output.logits.float().log_softmax(-1)
        losses = F.nll_loss(
            log_probs.flatten(0, 1), output.targets.flatten(), reduction="none"
        )
        # The hidden frames come first.
        guessed = int(prepared.counts["accuracy"])
        hidden = guessed // self.codebooks
        guesses = log_probs[:hidden].detach().argmax(-1)
        targets = output.targets[:hidden]
        sums = {
            "best_rq": losses[:guessed].sum(),
            "accuracy": (guesses == targets).sum(),
            "targets": count_codes(targets, self.codes),
            "guesses": count_codes(guesses, self.codes),
        }
        if output.soft is not None:
            sums["kl"] = F.kl_div(
                log_probs[:hidden], output.soft[:hidden], reduction="sum"
            )
        if self.visible:
            sums["visible"] = losses[guessed:].sum()
        return sums | spread_sums(output.states, output.lengths)


@dataclass(frozen=True, kw_only=True)
class PreparedContrast(PreparedFrames):
    """Hidden frames with what ``draw_distractors`` gave.

    And the ``temperature`` of the Gumbel softmax.
    """

    distractors: torch.Tensor
    temperature: float


class Wav2Vec2Objective(HiddenFrames):
    """Tell hidden frames' quantised features from others (wav2vec 2.0).

    Baevski et al., https://arxiv.org/abs/2006.11477. loss = contrastive +
    diversity_weight diversity + penalty_weight penalty, each per hidden frame
    (the penalty per valid frame). The diversity is that of the codes of a
    micro-batch: of all losses, it alone depends on how a step is cut. fairseq
    also scales the stem's gradient by 0.1 and gives the penalty a weight of 10
    in Base: here the stem learns at the rate of the rest.

    One code for everything makes the contrastive loss, the score, 0: see the
    warnings of ``signs_of_collapse``.

    Arguments
    ---------
    mask_share : float
        Sum of span lengths over an utterance's length.
    mask_span : int
        Frames of a span.
    negatives : int
        Distractors of a hidden frame, of the same utterance.
    groups, codes, code_dim : int
        Codebooks, codes of each, and the width of a code vector.
    width : int
        Of the vectors that are compared.
    temperature : float
        Of the contrastive softmax.
    gumbel_start, gumbel_end, gumbel_share : float
        The Gumbel softmax's temperature falls from start to end in this share
        of the run, by the same factor in every step (the paper's 0.999995 is
        a share of 0.7 of its 400,000). Validation draws no noise.
    diversity_weight : float
        Of the share of codes that are not in use.
    penalty_weight : float
        Of the mean square of the stem's frames; 0 for none.
    spec_augment : SpecAugment, optional
        More masks on the stem's features while training; the targets do not
        have them.
    visible_weight : float
        As in ``HiddenFrames``. Above 0, any other frames of the utterance are
        distractors, not only hidden ones.

    Example
    -------
    >>> objective = Wav2Vec2Objective(0.65, 10)
    >>> objective.weights
    {'contrastive': 1.0, 'diversity': 0.1, 'penalty': 0.0}
    >>> [round(objective.gumbel(done), 2) for done in (0.0, 0.35, 0.7, 1.0)]
    [2.0, 1.0, 0.5, 0.5]
    """

    score = "contrastive"

    def __init__(
        self,
        mask_share: float,
        mask_span: int,
        negatives: int = 100,
        groups: int = 2,
        codes: int = 320,
        code_dim: int = 128,
        width: int = 256,
        temperature: float = 0.1,
        gumbel_start: float = 2.0,
        gumbel_end: float = 0.5,
        gumbel_share: float = 0.7,
        diversity_weight: float = 0.1,
        penalty_weight: float = 0.0,
        spec_augment: SpecAugment | None = None,
        visible_weight: float = 0.0,
    ):
        super().__init__(mask_share, mask_span, spec_augment, visible_weight)
        require_count("negatives", negatives, 1, 10_000)
        require_count("groups", groups)
        require_count("codes", codes, 2)
        require_count("code_dim", code_dim)
        require_count("width", width)
        require_number("temperature", temperature, 1e-3)
        require_number("gumbel_end", gumbel_end, 1e-3)
        require_number("gumbel_start", gumbel_start, gumbel_end)
        require_number("gumbel_share", gumbel_share, 1e-3, 1.0)
        require_number("diversity_weight", diversity_weight, 0.0)
        require_number("penalty_weight", penalty_weight, 0.0)
        self.negatives, self.temperature = negatives, temperature
        self.sizes = (groups, codes, code_dim, width)
        self.targets = f"wav2vec2 {groups}x{codes}x{code_dim} to {width}"
        self.gumbel_start, self.gumbel_end = gumbel_start, gumbel_end
        self.gumbel_share = gumbel_share
        self.weights = {
            "contrastive": 1.0,
            "diversity": diversity_weight,
            "penalty": penalty_weight,
            **self.visible,
        }

    def build_model(self, config: ModelConfig) -> Wav2Vec2:
        """Build the encoder with its quantiser."""
        return Wav2Vec2(config, *self.sizes)

    def gumbel(self, done: float) -> float:
        """Give the Gumbel temperature after a share of the run."""
        fallen = min(1.0, done / self.gumbel_share)
        start, end = self.gumbel_start, self.gumbel_end
        return start * (end / start) ** fallen

    def prepare(
        self, batch: Batch, model: Wav2Vec2, done: float = 0.0
    ) -> PreparedContrast:
        """Draw hidden spans and distractors."""
        mask, valid = self.draw(batch, model)
        asked = valid if self.visible else mask
        # A frame that is alone has nothing to be told from.
        asked = asked & (asked.sum(1, keepdim=True) > 1)
        mask = mask & asked
        table = draw_distractors(
            batch.seeds, asked.sum(1).tolist(), self.negatives
        )
        order = asked.int() + mask.int()  # hidden, visible, what pads
        places = order.argsort(dim=1, descending=True, stable=True)
        per_hidden = ("contrastive", "diversity", "accuracy")
        hidden = float(mask.sum())
        counts = dict.fromkeys(per_hidden, hidden) | count_spread(valid)
        counts["penalty"] = float(valid.sum())
        if self.visible:
            counts["visible"] = float(asked.sum()) - hidden
        return PreparedContrast(
            batch,
            mask,
            counts,
            masker=draw_masker(self.spec_augment, batch, model),
            places=places[:, : table.shape[1]],
            distractors=table,
            temperature=self.gumbel(done),
        )

    def sums(
        self, model: Callable, prepared: PreparedContrast, training: bool
    ) -> dict[str, torch.Tensor]:
        """Sum the losses and the hits over frames."""
        temperature = prepared.temperature if training else None
        output = model(*prepared.inputs(training), temperature)
        contrast = contrast_frames(
            output.contexts,
            output.targets,
            output.codes,
            prepared.distractors,
            self.temperature,
        )
        diversity = unused_share(output.probabilities)
        hidden = prepared.mask.gather(1, prepared.places)
        sums = {
            "contrastive": (contrast.loss * hidden).sum(),
            "diversity": diversity * prepared.counts["diversity"],
            "penalty": output.penalty,
            "accuracy": (contrast.hits & hidden).sum(),
            "codes": count_codes(output.codes, self.sizes[1], hidden),
        }
        if self.visible:
            sums["visible"] = (contrast.loss * ~hidden).sum()
        return sums | spread_sums(output.states, output.lengths)
