"""Saving and loading of a training: the part of the trainer about files."""

from __future__ import annotations

import logging

import speechbrain as sb
from torch import nn

from nar_asr_lobes.distributed import gather_objects, on_main
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    random_state,
)
from nar_asr_lobes.training.config import OptimConfig
from nar_asr_lobes.training.processes.heartbeat import SAVING, Heartbeat
from nar_asr_lobes.training.progress import Progress
from nar_asr_lobes.training.skipping import TooManySkipped

logger = logging.getLogger(__name__)


class SavedBrain(sb.Brain):
    """A Brain whose checkpoints hold all that an exact resume needs."""

    model: nn.Module
    objective: Objective
    optim: OptimConfig
    checkpoints: CheckpointFolder
    progress: Progress
    heartbeat: Heartbeat
    metadata: dict

    def save(self, score: float | None = None) -> None:
        """Write a checkpoint from rank 0, with every rank's random state.

        ``score`` is that of a validation of these very weights.
        """
        self.heartbeat.mark(SAVING)
        metadata = self.metadata | ({} if score is None else {"score": score})
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": vars(self.progress),
            "random": gather_objects(random_state()),
        }
        step = self.progress.step
        # No rank runs on before the checkpoint is there.
        on_main(lambda: self.checkpoints.save(step, parts, metadata))

    def resume(self) -> Checkpoint | None:
        """Load the newest undamaged checkpoint, if there is one; return it."""
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            return None
        checkpoint.require(self.metadata)
        checkpoint.restore(
            self.model,
            self.optimizer,
            self.scheduler,
            self.optim.stretch_schedule,
        )
        vars(self.progress).update(checkpoint.load("progress"))
        logger.info("resuming from %s", checkpoint.path)
        return checkpoint

    def roll_back(self, reason: TooManySkipped) -> None:
        """Take the weights from before the skipped steps; the data goes on.

        Saved at once, so that a restart neither repeats nor forgets it.
        """
        progress, most = self.progress, self.optim.max_roll_backs
        before = progress.step - progress.skipped_in_a_row
        checkpoint = self.checkpoints.newest(before)
        if checkpoint is None or progress.roll_backs >= most:
            raise reason
        checkpoint.restore_weights(self.model, self.optimizer)
        progress.roll_backs += 1
        logger.warning(
            "step %d: %d steps in a row were skipped: the weights are those of "
            "step %d again and the data goes on, for the %d. time of at most "
            "%d",
            progress.step,
            progress.skipped_in_a_row,
            checkpoint.step,
            progress.roll_backs,
            most,
        )
        progress.skipped_in_a_row = 0
        self.save()

    def load_best(self) -> None:
        """Load the checkpoint with the lowest score on the dev split."""
        best = self.checkpoints.best() or self.checkpoints.newest()
        if best is not None:
            self.model.load_state_dict(best.load("model", self.device))
            self.model.eval()
            score = best.metadata.get("score", float("nan"))
            name = self.objective.score
            logger.info("best checkpoint: %s (%s %.3f)", best.path, name, score)
