"""The trainer: ``speechbrain.Brain``, right where the stock one is not.

Kept from Brain: modules on devices, run options, mixed precision, DDP
wrapping, compilation. Replaced: the loop. A step is a list of micro-batches
that holds ``global_batch`` utterances over all ranks, so accumulation loses no
window; losses are divided by their global counts; the norm of all gradients is
clipped; a NaN on any rank reaches all through the gradient sum, so that all
skip the step; and a checkpoint holds what an exact continuation needs.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.train_logger import TrainLogger
from torch import nn

from nar_asr_lobes.dataio.datasets import Batch, read_steps
from nar_asr_lobes.distributed import (
    Totals,
    gather_objects,
    on_main,
    sum_over_ranks,
    world,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.diagnostics import warn_of_collapse
from nar_asr_lobes.objectives.recognition import Objective, Prepared
from nar_asr_lobes.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    random_state,
    take_random_state,
)
from nar_asr_lobes.training.device import ahead, compile_layers, move
from nar_asr_lobes.training.options import TrainOptions
from nar_asr_lobes.training.progress import (
    Progress,
    StepDisplay,
    log_validation,
)
from nar_asr_lobes.training.scheduler import (
    WarmupCosine,
    is_pretrained,
    load_optimizer,
    parameter_groups,
)
from nar_asr_lobes.training.signals import Interrupted, deferred, pending

logger = logging.getLogger(__name__)


class NarBrain(sb.Brain):
    """Train one model on one objective.

    Arguments
    ---------
    model : torch.nn.Module
        What is trained; its ``encoder`` is the shared part.
    objective : Objective
        Losses and their weights.
    optimizer : callable
        Takes parameter groups, such as a partial ``torch.optim.AdamW``.
    scheduler : WarmupCosine
        Learning rate by step.
    options : TrainOptions
        How to train.
    checkpoints : CheckpointFolder
        Where to save and from where to go on.
    train_logger : speechbrain TrainLogger, optional
        Gets a line every ``log_interval`` steps.
    metadata : dict, optional
        Plain values stored in every checkpoint and compared on resume, such
        as the tokenizer's hash.
    run_opts : dict, optional
        SpeechBrain's run options (device, precision, …).
    precision : str
        Where the run options do not say: fp32 or bf16.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: Callable,
        scheduler: WarmupCosine,
        options: TrainOptions,
        checkpoints: CheckpointFolder,
        train_logger: TrainLogger | None = None,
        metadata: dict | None = None,
        run_opts: dict | None = None,
        precision: str = "fp32",
    ):
        super().__init__(
            {"model": model}, optimizer, {"precision": precision}, run_opts
        )
        if self.precision == "fp16":
            raise UserError(
                "precision fp16 is not supported; use bf16, which needs no "
                "loss scaling, or fp32"
            )
        self.model = self.modules["model"]  # not wrapped by DDP
        self.objective, self.scheduler = objective, scheduler
        self.options, self.checkpoints = options, checkpoints
        self.train_logger, self.metadata = train_logger, metadata or {}
        self.progress = Progress()
        self.stop = False  # a signal asked some rank to, and all know
        self.met = Totals()  # codes of this rank since the last log line
        torch.manual_seed(options.seed + world()[0])

    def init_optimizers(self):
        """Give the optimiser the model's parameters in groups."""
        scale, fresh = self.options.head_lr_scale, self.options.fresh_parts
        self.optimizer = self.opt_class(
            parameter_groups(self.model, scale, fresh)
        )
        self.optimizers_dict = {"opt_class": self.optimizer}

    def _compile(self):
        if self.compile:
            compile_layers(self.model, self.compile_mode)

    def prepare(self, batch: Batch, step: int | None = None) -> Prepared:
        """Make a batch's draws and bring all to the device.

        ``step`` is the number of steps before, this moment's if left out.
        """
        if step is None:
            step = self.progress.step
        done = step / self.scheduler.steps
        prepared = self.objective.prepare(batch, self.model, done)
        return move(prepared, self.device)

    def steps(self, train_set: Iterable) -> Iterable[list[Prepared]]:
        """Prepare the batches of the steps to come, each a step ahead."""

        def prepare(step: tuple[int, list[Batch]]) -> list[Prepared]:
            return [self.prepare(batch, step[0]) for batch in step[1]]

        numbered = enumerate(read_steps(train_set), start=self.progress.step)
        return ahead(numbered, prepare, self.device)

    def fit_batch(self, batch: list[Batch]) -> dict[str, float]:
        """Prepare micro-batches and make a step of them."""
        return self.make_step([self.prepare(b) for b in batch])

    def make_step(self, prepared: list[Prepared]) -> dict[str, float]:
        """Make one optimiser step over micro-batches of this rank.

        Arguments
        ---------
        prepared : list of Prepared
            This rank's micro-batches of the step, any number above 0.

        Returns
        -------
        dict
            Global averages of losses and statistics, ``loss``, ``grad_norm``,
            ``lr`` and ``skipped`` (1.0 when a NaN or infinity was found on
            any rank and no rank moved its weights).
        """
        batches = [item.batch for item in prepared]
        if self.progress.step == 0:
            self.objective.begin(self.model, prepared)
        local = Totals()
        for item in prepared:
            local.add(item.counts, item.counts)
        counts = sum_over_ranks(local.counts, self.device)
        found = []
        for number, item in enumerate(prepared, start=1):
            with self.no_sync(number < len(prepared)):
                found.append(self._backward(item, counts))
        norm = self._clip()  # before the host waits for any of the numbers
        local = Totals()
        for sums, item in zip(found, prepared, strict=True):
            local.add(sums, item.counts)
        local.sums["audio_seconds"] = sum(b.seconds for b in batches)
        local.sums["stop"] = float(pending())
        sums = sum_over_ranks(local.sums, self.device)
        self.stop = sums.pop("stop") > 0
        self.progress.audio_seconds += sums.pop("audio_seconds")
        averages = {n: s / counts[n] for n, s in sums.items() if counts[n]}
        averages["loss"] = sum(
            weight * averages.get(name, 0.0)
            for name, weight in self.objective.weights.items()
        )
        averages.update(self._update(norm.item(), averages["loss"]))
        skipped, ids = averages["skipped"], [i for b in batches for i in b.ids]
        if not skipped:
            self.met.add_codes([local])
        self.progress.count(bool(skipped), ids, self.options.max_skipped)
        return averages

    def _backward(
        self, item: Prepared, counts: dict[str, float]
    ) -> dict[str, torch.Tensor]:
        """Accumulate the gradient of (weight x global sum) / global count."""
        with self.training_ctx:
            sums = self.objective.sums(self.modules.model, item, training=True)
        ranks = world()[1]  # DDP averages over ranks; we want the sum
        loss = sum(
            sums[name] * (weight * ranks / max(counts[name], 1.0))
            for name, weight in self.objective.weights.items()
        )
        loss.backward()
        return {name: value.detach() for name, value in sums.items()}

    def _clip(self) -> torch.Tensor:
        """Clip the gradients; give their norm."""
        if self.progress.step < self.options.freeze_encoder_steps:
            for name, parameter in self.model.named_parameters():
                if is_pretrained(name, self.options.fresh_parts):
                    parameter.grad = None
        return nn.utils.clip_grad_norm_(
            self.model.parameters(), self.options.max_grad_norm
        )

    def _update(self, norm: float, loss: float) -> dict[str, float]:
        """Step, unless something is not finite."""
        lr = self.scheduler.step(self.optimizer)
        # Gradients and losses were summed over the ranks: all see the same.
        skipped = not (np.isfinite(norm) and np.isfinite(loss))
        if not skipped:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"grad_norm": norm, "lr": lr, "skipped": float(skipped)}

    def fit(self, train_set: Iterable, valid_set: Iterable | None = None):
        """Train to the scheduler's last step, going on where a run stopped.

        Arguments
        ---------
        train_set : DataLoader
            Over a ``StepSampler``; each item is a list of micro-batches.
        valid_set : iterable of Batch, optional
            This rank's share of the development set.

        Raises
        ------
        Interrupted
            After a SIGINT or SIGTERM to any rank, once the step is saved.
        """
        self.on_fit_start()
        checkpoint = self.resume()
        train_set.sampler.start_step = self.progress.step
        self.modules.train()
        with deferred():
            # A validation that was broken off is made up for.
            broken_off = checkpoint and "score" not in checkpoint.metadata
            if broken_off and self._is_due(self.options.valid_interval):
                self._save_where_due(valid_set)
            self._train(train_set, valid_set)

    def _train(self, train_set: Iterable, valid_set: Iterable | None) -> None:
        progress, totals = self.progress, Totals()
        steps, bar = self.scheduler.steps, not self.noprogressbar
        with StepDisplay(progress, steps, bar) as display:
            for prepared in self.steps(train_set):
                averages = self.make_step(prepared)
                totals.add_step(averages)
                display.step(averages)
                if self._is_due(self.options.log_interval):
                    display.line(totals.ratios())
                    self._report(totals)
                    totals = Totals()
                self._save_where_due(valid_set)

    def _is_due(self, interval: int) -> bool:
        step = self.progress.step
        return step % interval == 0 or step == self.scheduler.steps

    def _save_where_due(self, valid_set: Iterable | None) -> None:
        """Validate and save after a step; end where a signal asked to."""
        step, score = self.progress.step, None
        validate = self._is_due(self.options.valid_interval)
        if validate and valid_set is not None and not self.stop:
            score = self.validate(valid_set)
        save = validate or step % self.options.checkpoint_interval == 0
        if save or self.stop:
            self.save(score)
        if self.stop:
            # Without one of its own, this rank stops by another's.
            raise Interrupted(pending() or signal.SIGTERM, step)

    def _report(self, totals: Totals) -> None:
        """Log the last steps, and warn when the learning has collapsed."""
        totals.add_codes(gather_objects(self.met.cpu()))
        self.met = Totals()
        self._log(totals.ratios(), None)
        warn_of_collapse(totals, self.progress.step, self.scheduler.warmup)

    def _log(self, train: dict | None, valid: dict | None) -> None:
        progress = self.progress
        if self.train_logger is not None:
            meta = {"step": progress.step, "skipped_steps": progress.skipped}
            self.train_logger.log_stats(meta, train, valid)
        if valid is not None:
            log_validation(progress.step, valid)

    def validate(self, valid_set: Iterable[Batch]) -> float | None:
        """Average over the dev split, shared by the ranks; give the score.

        None where a signal broke it off.
        """
        self.modules.eval()
        totals = Totals()
        with torch.no_grad(), self.evaluation_ctx:
            for batch in valid_set:
                if pending():
                    break
                item = self.prepare(batch)
                sums = self.objective.sums(self.model, item, training=False)
                totals.add(sums, item.counts)
        self.modules.train()
        totals.add({"stop": pending()}, {"stop": 0.0})  # 0: gives no ratio
        everywhere = totals.of_all_ranks()
        self.stop = everywhere.sums["stop"] > 0
        if self.stop:
            return None
        ratios = everywhere.ratios()
        self._log(None, ratios)
        # The codes are without the noise that training has.
        warn_of_collapse(everywhere, self.progress.step, self.scheduler.warmup)
        if self.objective.score not in ratios:
            raise UserError(
                f"the dev split has nothing to count {self.objective.score} "
                "on; give it longer utterances with transcripts"
            )
        return ratios[self.objective.score]

    def save(self, score: float | None = None) -> None:
        """Write a checkpoint from rank 0, with every rank's random state.

        ``score`` is that of a validation of these very weights.
        """
        metadata = self.metadata | ({} if score is None else {"score": score})
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": vars(self.progress),
            "random": gather_objects(random_state()),
        }
        # No rank runs on before the checkpoint is there.
        on_main(
            lambda: self.checkpoints.save(self.progress.step, parts, metadata)
        )

    def resume(self) -> Checkpoint | None:
        """Go on from the newest whole checkpoint, if there is one; give it."""
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            return None
        checkpoint.require(self.metadata)
        try:
            self.model.load_state_dict(checkpoint.load("model", self.device))
            state = checkpoint.load("optimizer", self.device)
            load_optimizer(self.optimizer, state, str(checkpoint.path))
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{checkpoint.path}: was made with another objective; "
                "give the old one or a new output_folder"
            ) from error
        self.scheduler.load_state_dict(checkpoint.load("scheduler"))
        self.progress = Progress(**checkpoint.load("progress"))
        take_random_state(checkpoint.load("random"), checkpoint.path)
        logger.info("going on from %s", checkpoint.path)
        return checkpoint
