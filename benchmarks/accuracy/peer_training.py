"""Training by core-minutes: the same budget and measurements for every peer.

    Split, tokens -> DynamicBatchSampler -> loss -> AdamW -> checkpoint.pt
    every 10 % of the budget: greedy WER and CER on dev -> curve.jsonl

The clock is the processor time of all threads of this process while it makes
training steps, batches included; evaluation and saving are not counted. The
learning rate follows the part of the budget that is spent.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peer_data import Split
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.decoders.ctc import ctc_greedy_decode
from speechbrain_model import BLANK, FRAME_SECONDS, SpeechBrainModel

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.storage import atomic_write, write_text

logger = logging.getLogger(__name__)
_AVERAGE_FROM = 0.9  # of the budget: mean of the weights of the last steps
_LOG_STEPS = 50


@dataclass(frozen=True)
class Budget:
    """Options of a training.

    ``minutes`` of one core; ``batch_seconds`` of audio a step at most;
    ``warmup`` and ``augment_from`` are parts of the budget; ``stop_after``
    minutes it stops early, for a trial of a longer schedule.
    """

    minutes: float = 40.0
    batch_seconds: float = 36.0
    peak_lr: float = 1.0e-3
    warmup: float = 0.1
    augment_from: float = 0.15
    precision: str = "bf16"
    points: int = 10
    save_seconds: float = 120.0
    seed: int = 1
    stop_after: float | None = None

    def lr(self, part: float) -> float:
        """Linear warm-up, then a cosine down to a hundredth of the peak."""
        if part < self.warmup:
            return self.peak_lr * max(part, 1e-3) / self.warmup
        rest = min((part - self.warmup) / (1 - self.warmup), 1)
        return self.peak_lr * (0.505 + 0.495 * math.cos(math.pi * rest))


class Training:
    """A peer's training on one set, which continues from its folder."""

    def __init__(
        self,
        model: SpeechBrainModel,
        train: Split,
        dev: Split,
        tokenizer: Tokenizer,
        folder: Path,
        budget: Budget,
    ):
        self.model, self.train, self.dev = model, train, dev
        self.tokenizer, self.folder, self.budget = tokenizer, folder, budget
        self.tokens = [torch.tensor(tokenizer.encode(t)) for t in train.texts]
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=budget.peak_lr,
            betas=(0.9, 0.98),
            eps=1e-9,
            weight_decay=5e-4,
            fused=True,
        )
        self.sampler = DynamicBatchSampler(
            train.ids,
            budget.batch_seconds,
            num_buckets=10,
            lengths_list=train.seconds,
            seed=budget.seed,
        )
        self.batches: list[list[int]] | None = None  # of this epoch
        self.mean = torch.optim.swa_utils.AveragedModel(model)
        self.state = {"spent": 0.0, "steps": 0, "epoch": 0, "position": 0}
        self._resume()

    @property
    def part(self) -> float:
        """Part of the budget that is spent."""
        return self.state["spent"] / (60 * self.budget.minutes)

    def run(self) -> None:
        """Train until the budget is spent."""
        end = min(1, (self.budget.stop_after or math.inf) / self.budget.minutes)
        next_point = self._next_point()
        saved = self.state["spent"]
        while self.part < end:
            self._step()
            if self.part >= next_point:
                self._measure()
                next_point = self._next_point()
            if self.state["spent"] - saved >= self.budget.save_seconds:
                self._save()
                saved = self.state["spent"]
        self._save()

    def _next_point(self) -> float:
        points = self.budget.points
        return (math.floor(self.part * points + 1e-9) + 1) / points

    def _step(self) -> None:
        """Make one optimiser step, on the clock."""
        start = time.process_time()
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.lr(self.part)
        losses = self._losses(self._batch())
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.part >= _AVERAGE_FROM:
            self.mean.update_parameters(self.model)
        state["steps"] += 1
        state["spent"] += time.process_time() - start
        if state["steps"] % _LOG_STEPS == 0:
            values = {name: round(x.item(), 2) for name, x in losses.items()}
            minutes = state["spent"] / 60
            logger.info(
                "step %d, epoch %d, %.2f min: %s",
                state["steps"],
                state["epoch"],
                minutes,
                values,
            )

    def _batch(self) -> list[int]:
        """Take the next utterances; the position survives a restart."""
        state = self.state
        if self.batches is None:
            self.sampler.set_epoch(state["epoch"])
            self.batches = list(self.sampler)
        batch = self.batches[state["position"]]
        state["position"] += 1
        if state["position"] == len(self.batches):
            state["epoch"], state["position"] = state["epoch"] + 1, 0
            self.batches = None
        return batch

    def _losses(self, batch: list[int]) -> dict[str, torch.Tensor]:
        self.model.train()
        wavs, lengths = pad([self.train.waveform(i) for i in batch])
        bf16 = self.budget.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return self.model.loss(
                wavs,
                lengths,
                [self.tokens[i] for i in batch],
                augment=self.part >= self.budget.augment_from,
            )

    def _measure(self) -> None:
        """Append greedy errors on dev to the curve."""
        counts = greedy_errors(self.model, self.dev, self.tokenizer)
        point = {
            "core_minutes": self.state["spent"] / 60,
            "steps": self.state["steps"],
            "epochs": self.state["epoch"],
            **counts,
        }
        logger.info("dev: %s", point)
        write_text(
            self.folder / "curve.jsonl",
            "".join(f"{json.dumps(x)}\n" for x in [*self._curve(), point]),
        )

    def _curve(self) -> list[dict]:
        """Read the points up to where this training stands."""
        path = self.folder / "curve.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        spent = self.state["spent"] / 60
        points = map(json.loads, lines)
        return [point for point in points if point["core_minutes"] < spent]

    def _save(self) -> None:
        with atomic_write(self.folder / "checkpoint.pt") as file:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "mean": self.mean.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "random": torch.get_rng_state(),
                    "state": self.state,
                    "budget": asdict(self.budget),
                },
                file,
            )

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.mean.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        self.state = saved["state"]
        logger.info("continues at %.2f minutes", self.state["spent"] / 60)

    def choose(self) -> dict:
        """Keep the mean of the last weights where dev prefers it."""
        found = {"last": greedy_errors(self.model, self.dev, self.tokenizer)}
        if self.mean.n_averaged:
            mean = self.mean.module
            found["mean"] = greedy_errors(mean, self.dev, self.tokenizer)
            if found["mean"]["cer"] < found["last"]["cer"]:
                self.model.load_state_dict(mean.state_dict())
        return found


@torch.no_grad()
def log_posteriors(model: SpeechBrainModel, split: Split) -> list[torch.Tensor]:
    """Give float32 [T, V] of each utterance, which no other one touches."""
    model.eval()
    found = []
    for i in range(len(split)):
        wav = split.waveform(i)[None]
        encoded = model.encode(wav, torch.ones(1))
        found.append(model.ctc(encoded)[0])
    return found


def greedy_errors(
    model: SpeechBrainModel, split: Split, tokenizer: Tokenizer
) -> dict[str, float]:
    """Score SpeechBrain's greedy decoding in percent."""
    rows = log_posteriors(model, split)
    found = [
        ctc_greedy_decode(row[None], torch.ones(1), BLANK)[0] for row in rows
    ]
    texts = [tokenizer.decode(tokens) for tokens in found]
    counts = score(split.ids, split.texts, texts)
    return {"wer": 100 * counts.wer, "cer": 100 * counts.cer}


def save_posteriors(
    path: Path, rows: list[torch.Tensor], split: Split, tokenizer: Tokenizer
) -> None:
    """Write NAME.posteriors.safetensors, which `nar-asr lm tune` reads."""
    write_posteriors(
        path.with_name(path.name + SUFFIX),
        SavedPosteriors(
            split.ids,
            split.texts,
            rows,
            tokenizer.fingerprint,
            FRAME_SECONDS,
            sum(split.seconds),
        ),
    )


def pad(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows with zeros; return them and their relative lengths."""
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return padded, torch.tensor([len(r) for r in rows]) / padded.shape[1]
