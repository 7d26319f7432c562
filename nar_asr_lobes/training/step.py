"""One optimiser step: micro-batches -> gradients -> global numbers -> weights.

counts of the step, over all ranks -> forward, backward of each micro-batch
-> norm, clipping -> one sum over the ranks -> optimiser
"""

from __future__ import annotations

from collections.abc import Sequence

import speechbrain as sb
import torch
from torch import nn

from nar_asr_lobes.distributed import sum_over_ranks, world
from nar_asr_lobes.objectives.base import ModelInputs
from nar_asr_lobes.objectives.diagnostics import Totals
from nar_asr_lobes.training.optim.scheduler import EncoderFreeze, WarmupCosine
from nar_asr_lobes.training.processes.signals import pending
from nar_asr_lobes.training.progress import TrainLog
from nar_asr_lobes.training.saved_brain import SavedBrain
from nar_asr_lobes.training.skipping import stand_in, step_fault

Sums = dict[str, torch.Tensor]
_NEXT = "next "  # before the names of the next step's counts


class StepBrain(SavedBrain):
    """A Brain whose step is made of micro-batches on all ranks.

    ``counts`` are those of the step over all ranks, which divide its losses.
    """

    freeze: EncoderFreeze
    scheduler: WarmupCosine
    train_log: TrainLog
    max_damaged: int
    counts: dict[str, float]
    last_inputs: ModelInputs | None = None
    fault = ""  # of a skipped step
    stop = False  # a signal asked some rank to, and all know
    # The next step's micro-batches, and their counts over all ranks.
    ahead: tuple[Sequence[ModelInputs], dict[str, float]] | None = None

    def make_step(
        self,
        prepared: Sequence[ModelInputs],
        following: Sequence[ModelInputs] | None = None,
    ) -> dict[str, float]:
        """Make one optimiser step over micro-batches of this rank.

        Arguments
        ---------
        prepared : sequence of ModelInputs
            This rank's micro-batches of the step. Where there are none, all
            being damaged, one of the step before takes part with weight 0.
        following : sequence of ModelInputs, optional
            Those of the next call, whose counts are added up over the ranks
            together with the sums of this step.

        Returns
        -------
        dict
            Global averages of losses and statistics, ``loss``, ``grad_norm``,
            ``lr`` and ``skipped`` (1.0 when a NaN, an infinity or a spike was
            found and no rank moved its weights).
        """
        damaged = getattr(prepared, "damaged", [])
        self.counts = self._global_counts(prepared)
        weight = 1.0 if prepared else 0.0
        prepared = list(prepared) or stand_in(self.last_inputs, damaged)
        self.last_inputs = prepared[-1]
        if self.progress.step == 0:
            self.objective.init_from_batch(self.model, prepared)
        self.freeze.before_backward(self.progress.step)
        local = Totals()
        for number, item in enumerate(prepared, start=1):
            with self.no_sync(number < len(prepared)):
                sums = self._backward(item, weight)
            local.add(sums, {**item.counts, "loss": 1.0})
        seconds = sum(item.batch.seconds for item in prepared)
        numbers = {"audio_seconds": seconds, "damaged": float(len(damaged))}
        sums = self._reduce({**local.sums, **numbers}, following)
        self.stop = sums.pop("stop") > 0
        if sums.pop("damaged"):  # then on all ranks
            folder = self.checkpoints.folder.parent
            self.progress.count_damaged(damaged, folder, self.max_damaged)
        self.progress.audio_seconds += sums.pop("audio_seconds")
        norm, loss = sums.pop("grad_norm"), sums.pop("loss")
        counts = self.counts
        averages = {n: s / counts[n] for n, s in sums.items() if counts[n]}
        averages |= {"loss": loss, **self._update(norm, loss)}
        if not self.fault:
            self.train_log.codes.add_codes([local])
        places = [x for item in prepared for x in item.batch.places]
        self.progress.count(self.fault, places, self.optim.max_skipped)
        return averages

    def _global_counts(
        self, prepared: Sequence[ModelInputs]
    ) -> dict[str, float]:
        """Give the counts of a step over all ranks."""
        if self.ahead is not None and self.ahead[0] is prepared:
            return self.ahead[1]
        return sum_over_ranks(self._local_counts(prepared), self.device)

    def _local_counts(
        self, prepared: Sequence[ModelInputs]
    ) -> dict[str, float]:
        """Add up the counts of this rank's micro-batches."""
        damaged = getattr(prepared, "damaged", [])
        local = Totals()
        for item in prepared or stand_in(self.last_inputs, damaged):
            local.add(item.counts, item.counts)
        return local.counts

    def _reduce(
        self,
        numbers: Sums,
        following: Sequence[ModelInputs] | None,
    ) -> dict[str, float]:
        """Clip the gradients; add up a step's numbers over the ranks.

        The host waits for the device here alone, and besides the gradients
        this is the one message to the other ranks.
        """
        self.freeze.after_backward(self.progress.step)
        norm = nn.utils.clip_grad_norm_(
            self.model.parameters(), self.optim.max_grad_norm
        )
        counts = {} if following is None else self._local_counts(following)
        numbers = {
            **numbers,
            **{_NEXT + name: count for name, count in counts.items()},
            "grad_norm": norm / world()[1],  # it is the same on all ranks
            "stop": float(pending()),
        }
        sums = sum_over_ranks(numbers, self.device)
        counts = {name: sums.pop(_NEXT + name) for name in counts}
        self.ahead = (following, counts) if counts else None
        return sums

    def _backward(self, item: ModelInputs, weight: float) -> Sums:
        """Accumulate the gradient of a micro-batch."""
        with self.training_ctx:
            sums = self.compute_forward(item, sb.Stage.TRAIN)
        sums = {name: value * weight for name, value in sums.items()}
        loss = self.compute_objectives(sums, item, sb.Stage.TRAIN)
        (loss * world()[1]).backward()  # DDP averages over ranks; we want sums
        return {
            n: value.detach() for n, value in {**sums, "loss": loss}.items()
        }

    def _update(self, norm: float, loss: float) -> dict[str, float]:
        """Step, unless something is not finite or a spike."""
        lr = self.scheduler.step(self.optimizer)
        # Gradients and losses were summed over the ranks: all see the same.
        norms, ratio = self.progress.norms, self.optim.spike_ratio
        self.fault = step_fault(norm, loss, norms, ratio)
        if not self.fault:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"grad_norm": norm, "lr": lr, "skipped": float(self.fault != "")}
