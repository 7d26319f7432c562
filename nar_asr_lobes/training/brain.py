"""The trainer: a ``speechbrain.Brain`` with its own loop.

Kept from Brain: modules on devices, run options, mixed precision. Replaced:
the loop, DDP wrapping, compilation. A step is a list of micro-batches
that holds ``global_batch`` utterances over all ranks, so accumulation loses no
window; losses are divided by their global counts; the norm of all gradients is
clipped; a NaN on any rank reaches all ranks through the gradient sum, so that
all skip the step; and a checkpoint holds all that an exact resume needs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

import speechbrain as sb
import torch
from speechbrain.utils.train_logger import TrainLogger
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch, StepBatches, read_steps
from nar_asr_lobes.distributed import world
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.base import ModelInputs, Objective
from nar_asr_lobes.objectives.diagnostics import Totals
from nar_asr_lobes.training.checkpoint import CheckpointFolder, seed_random
from nar_asr_lobes.training.config import LogConfig, OptimConfig
from nar_asr_lobes.training.device import (
    compile_layers,
    move,
    prefetch,
    with_next,
    wrap_distributed,
)
from nar_asr_lobes.training.optim.scheduler import (
    EncoderFreeze,
    parameter_groups,
)
from nar_asr_lobes.training.processes.heartbeat import (
    TRAINING,
    VALIDATING,
    Heartbeat,
)
from nar_asr_lobes.training.processes.signals import (
    Interrupted,
    deferred,
    pending,
)
from nar_asr_lobes.training.progress import Progress, TrainLog
from nar_asr_lobes.training.skipping import TooManySkipped
from nar_asr_lobes.training.step import StepBrain, Sums


class NarBrain(StepBrain):
    """Train one model on one objective.

    A step follows the gradient of ``compute_objectives``, summed over its
    micro-batches on all ranks. A subclass may override that and
    ``compute_forward`` as in any Brain; ``evaluate`` uses both.

    Arguments
    ---------
    model : torch.nn.Module
        To be trained; its ``encoder`` is the shared part.
    objective : Objective
        Losses and their weights.
    optim : OptimConfig
        Optimiser, schedule, clipping.
    steps : int
        Optimiser steps of the whole run.
    checkpoints : CheckpointFolder
        Where to save and to resume from.
    log : LogConfig, optional
        When to log, validate and save.
    seed : int
        Rank r draws its dropout from seed + r.
    reinit_parts : tuple of str
        Re-initialised parts of a pre-trained encoder, which learn as heads.
    train_logger : speechbrain TrainLogger, optional
        Gets a line every ``log_interval`` steps.
    metadata : dict, optional
        Plain values stored in every checkpoint and compared on resume, such
        as the tokenizer's hash.
    run_opts : dict, optional
        SpeechBrain's run options (device, precision, ...).
    precision : str
        Where the run options do not say: fp32 or bf16.
    max_damaged : int
        Utterances of the whole run that may be damaged and left out.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optim: OptimConfig,
        steps: int,
        checkpoints: CheckpointFolder,
        log: LogConfig | None = None,
        seed: int = 0,
        reinit_parts: tuple[str, ...] = (),
        train_logger: TrainLogger | None = None,
        metadata: dict | None = None,
        run_opts: dict | None = None,
        precision: str = "fp32",
        max_damaged: int = 0,
    ):
        super().__init__(
            {"model": model},
            optim.optimizer,
            {"precision": precision},
            run_opts,
        )
        if self.precision == "fp16":
            raise UserError(
                "precision fp16 is not supported; use bf16, which needs no "
                "loss scaling, or fp32"
            )
        self.model = self.modules["model"]  # not wrapped by DDP
        self.objective, self.optim = objective, optim
        self.scheduler = optim.scheduler(steps=steps)
        self.checkpoints, self.intervals = checkpoints, log or LogConfig()
        self.reinit_parts = reinit_parts
        frozen_steps = optim.freeze_encoder_steps
        self.freeze = EncoderFreeze(model, frozen_steps, reinit_parts)
        self.metadata, self.progress = metadata or {}, Progress()
        self.heartbeat = Heartbeat(self.progress, self.intervals.stall_seconds)
        self.train_log = TrainLog(
            self.progress,
            self.scheduler,
            train_logger,
            not self.noprogressbar,
            objective.remedies,
        )
        self.max_damaged = max_damaged
        seed_random(seed + world()[0])

    def init_optimizers(self):
        """Give the optimiser the model's parameters in groups."""
        scale = self.optim.head_lr_scale
        groups = parameter_groups(self.model, scale, self.reinit_parts)
        self.optimizer = self.opt_class(groups)
        self.optimizers_dict = {"opt_class": self.optimizer}

    def _compile(self):
        if self.compile and "cuda" not in self.device:
            raise UserError("--compile is for a GPU; leave it out on a CPU")
        if self.compile:
            compile_layers(self.model, self.compile_mode)

    def _wrap_distributed(self):
        if self.distributed_launch:
            self.modules["model"] = wrap_distributed(
                self.model,
                self.device,
                self.find_unused_parameters,
                self.optim.compress_gradients,
            )

    def prepare(self, batch: Batch, step: int | None = None) -> ModelInputs:
        """Make a batch's draws and bring all to the device.

        ``step`` is the number of steps before, this moment's if left out.
        """
        if step is None:
            step = self.progress.step
        progress = step / self.scheduler.steps
        prepared = self.objective.make_inputs(batch, self.model, progress)
        return move(prepared, self.device)

    def steps(self, train_set: Iterable) -> Iterable[list[ModelInputs]]:
        """Prepare the batches of the steps to come, each a step ahead."""

        numbered = enumerate(read_steps(train_set), start=self.progress.step)
        make = lambda step: self._prepare_all(*step)  # noqa: E731
        return prefetch(numbered, make, self.device)

    def compute_forward(self, batch: ModelInputs, stage: sb.Stage) -> Sums:
        """Run the model on a micro-batch; sum losses and statistics."""
        self.heartbeat.mark()
        training = stage == sb.Stage.TRAIN
        model = self.modules.model if training else self.model
        return self.objective.losses(model, batch, training)

    def compute_objectives(
        self, predictions: Sums, batch: ModelInputs, stage: sb.Stage
    ) -> torch.Tensor:
        """Weigh the losses of a micro-batch, each divided by its count.

        In training the counts are those of the whole step, so that the losses
        of its micro-batches on all ranks add up to the step's.
        """
        counts = self.counts if stage == sb.Stage.TRAIN else batch.counts
        return sum(
            predictions[name] * (weight / max(counts[name], 1.0))
            for name, weight in self.objective.weights.items()
        )

    def make_dataloader(self, dataset: Iterable, stage: sb.Stage, **_):
        """Take any iterable of batches as it is."""
        return dataset

    def evaluate_batch(self, batch: Batch, stage: sb.Stage) -> torch.Tensor:
        """Give the loss of a batch."""
        return super().evaluate_batch(self.prepare(batch), stage)

    def on_evaluate_start(self, **_):
        """Load the best checkpoint, if there is one."""
        self.load_best()

    def fit_batch(self, batch: list[Batch]) -> dict[str, float]:
        """Prepare micro-batches and make a step of them."""
        return self.make_step(self._prepare_all(self.progress.step, batch))

    def _prepare_all(self, step: int, batches: list[Batch]) -> StepBatches:
        prepared = (self.prepare(batch, step) for batch in batches)
        return StepBatches(prepared, getattr(batches, "damaged", ()))

    def fit(self, train_set: Iterable, valid_set: Iterable | None = None):
        """Train to the last step, resuming where a run stopped.

        Arguments
        ---------
        train_set : DataLoader
            Over a ``StepSampler``; each item is a list of micro-batches.
        valid_set : iterable of Batch, optional
            This rank's share of the development set.

        Raises
        ------
        Interrupted
            After a SIGINT, SIGTERM or SIGUSR1 to any rank, once the step is
            saved.
        """
        self.on_fit_start()
        checkpoint = self.resume()
        train_set.sampler.start_step = self.progress.step
        self.modules.train()
        with deferred(), self.heartbeat:
            # Repeat a validation that a signal interrupted.
            broken_off = checkpoint and "score" not in checkpoint.metadata
            if broken_off and self._is_due(self.intervals.valid_interval):
                self._save_where_due(valid_set)
            self._train(train_set, valid_set)

    def _train(self, train_set: Iterable, valid_set: Iterable | None) -> None:
        with self.train_log as log:
            steps = with_next(self.steps(train_set))
            for prepared, following in self.heartbeat.watched(steps, TRAINING):
                try:
                    log.step(self.make_step(prepared, following))
                except TooManySkipped as reason:
                    self.roll_back(reason)
                    continue
                if self._is_due(self.intervals.log_interval):
                    log.line()
                self._save_where_due(valid_set)

    def _is_due(self, interval: int) -> bool:
        step = self.progress.step
        return step % interval == 0 or step == self.scheduler.steps

    def _save_where_due(self, valid_set: Iterable | None) -> None:
        """Validate and save after a step; end where a signal asked to."""
        step, score = self.progress.step, None
        validate = self._is_due(self.intervals.valid_interval)
        if validate and valid_set is not None and not self.stop:
            score = self.validate(valid_set)
        save = validate or step % self.intervals.checkpoint_interval == 0
        if save or self.stop:
            self.save(score)
        if self.stop:
            # Without one of its own, this rank stops by another's.
            raise Interrupted(pending() or signal.SIGTERM, step)

    def validate(self, valid_set: Iterable[Batch]) -> float | None:
        """Average over the dev split, shared by the ranks; give the score.

        None where a signal broke it off.
        """
        self.modules.eval()
        totals = Totals()
        with torch.no_grad(), self.evaluation_ctx:
            for batch in self.heartbeat.watched(valid_set, VALIDATING):
                if pending():
                    break
                item = self.prepare(batch)
                sums = self.compute_forward(item, sb.Stage.VALID)
                totals.add(sums, item.counts)
        self.modules.train()
        totals.add({"stop": pending()}, {"stop": 0.0})  # 0: gives no ratio
        everywhere = totals.of_all_ranks()
        self.stop = everywhere.sums["stop"] > 0
        if self.stop:
            return None
        self.train_log.validation(everywhere)
        name, ratios = self.objective.score, everywhere.ratios()
        if name not in ratios:
            raise UserError(
                f"the dev split has nothing to count {name} on; give it "
                "longer utterances with transcripts"
            )
        return ratios[name]
