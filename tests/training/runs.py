"""Tiny training runs, for tests in one process and in several."""

from dataclasses import fields
from functools import partial

import torch

from nar_asr_lobes.dataio.augment import WaveAugment
from nar_asr_lobes.dataio.batching import Sample, StepSampler
from nar_asr_lobes.dataio.datasets import SpeechDataset, step_loader
from nar_asr_lobes.dataio.text.tokenizer import train_tokenizer
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.lobes.model import ModelConfig
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.objectives.recognition import RecognitionObjective
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2Objective
from nar_asr_lobes.training.brain import NarBrain
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import LogConfig, OptimConfig
from nar_asr_lobes.training.optim.scheduler import WarmupCosine
from tests.tones import TONE_TEXTS

KINDS = ("pretrain", "finetune")
# wav2vec 2.0 draws noise in training, so that cutting a step changes it.
ALL_KINDS = (*KINDS, "wav2vec2")
TOKENIZER = train_tokenizer(TONE_TEXTS)


def make_objective(kind, spec_augment=None):
    """BEST-RQ, CTC and CMLM, or wav2vec 2.0."""
    if kind == "wav2vec2":
        return Wav2Vec2Objective(
            0.5,
            4,
            negatives=20,
            codes=32,
            code_dim=16,
            width=32,
            gumbel_ratio=0.5,
            spec_augment=spec_augment,
            unmasked_loss_weight=0.5,
        )
    if kind == "pretrain":
        return BestRqObjective(
            0.5,
            4,
            codebooks=2,
            codes=32,
            spec_augment=spec_augment,
            unmasked_loss_weight=0.5,
        )
    return RecognitionObjective(TOKENIZER, 0.3, 0.5, spec_augment=spec_augment)


def make_brain(kind, folder, steps, dropout=0.0, spec=False, **changes):
    """A brain whose weights come from the global random stream."""
    brain_class = changes.pop("brain_class", NarBrain)
    objective = changes.pop("objective", None) or make_objective(
        kind, SpecAugment() if spec else None
    )
    sizes = ModelConfig.tiny().to_dict() | {"dropout": dropout}
    parts = {"train_logger": None, "metadata": None, "precision": "fp32"}
    parts |= {"seed": 0, "reinit_parts": ()}
    parts = {name: changes.pop(name, value) for name, value in parts.items()}
    log = {
        f.name: changes.pop(f.name)
        for f in fields(LogConfig)
        if f.name in changes
    }
    optim = {
        "optimizer": partial(torch.optim.AdamW, betas=(0.9, 0.98)),
        "scheduler": partial(WarmupCosine, changes.pop("peak_lr", 1e-3)),
        **changes,
    }
    return brain_class(
        objective.build_model(ModelConfig.from_dict(sizes)),
        objective,
        OptimConfig(**optim),
        steps,
        CheckpointFolder(folder),
        LogConfig(**log),
        run_opts={
            "device": "cpu",
            "noprogressbar": True,
            "distributed_backend": "gloo",
        },
        **parts,
    )


def make_dataset(kind, clips, augment=False):
    """The clips, with their texts only where they are used."""
    return SpeechDataset(
        clips,
        TOKENIZER if kind == "finetune" else None,
        WaveAugment(noise_prob=0.5) if augment else None,
    )


def make_loader(kind, clips, steps, augment=False, rank=0, ranks=1, **changes):
    """Steps of 7 utterances, some of them in several micro-batches."""
    options = {"global_batch": 7, "max_batch_seconds": 3.0, "bucket_steps": 2}
    sampler = StepSampler(
        [clip.duration for clip in clips],
        steps=steps,
        rank=rank,
        ranks=ranks,
        seed=1,
        **{**options, **changes},
    )
    return step_loader(make_dataset(kind, clips, augment), sampler)


def make_batch(kind, clips, indices, seed=0):
    """One batch of some of the clips."""
    samples = [Sample(i, 100 * seed + i) for i in indices]
    return make_dataset(kind, clips).batch(samples)


class Recorder:
    """Stands for a train logger and keeps its lines."""

    def __init__(self):
        self.lines = []

    def log_stats(self, meta, train=None, valid=None):
        self.lines.append((meta["step"], train, valid))

    def steps(self, kind):
        """The steps with a line of training or of validation."""
        place = {"train": 1, "valid": 2}[kind]
        return [line[0] for line in self.lines if line[place] is not None]


class SpySgd(torch.optim.SGD):
    """Keeps the gradients that it steps along."""

    def step(self):
        self.gradients = [
            [parameter.grad.clone() for parameter in group["params"]]
            for group in self.param_groups
        ]
        super().step()

    def norms(self):
        """L2 norm of each group's gradient."""
        return [
            torch.stack([x.norm() for x in group]).norm().item()
            for group in self.gradients
        ]


def weights(brain):
    """A copy of all weights by name."""
    return {k: v.clone() for k, v in brain.model.state_dict().items()}


def assert_same_weights(one, two, atol=None):
    """Equal bit for bit, or within atol."""
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value.isfinite().all(), name
        if atol is None:
            assert torch.equal(value, two[name]), name
        else:
            assert (value - two[name]).abs().max() <= atol, name
