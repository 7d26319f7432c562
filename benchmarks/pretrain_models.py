"""The models whose pre-training step is timed, each with its own batches.

Ours         NarBrain on BestRqObjective, as LibriSpeech's recipe runs it:
             masked frames only, random projection
Transformers Wav2Vec2ForPreTraining as its example script run_wav2vec2_\
pretraining_no_trainer.py runs it
SpeechBrain  the model of its recipe LibriSpeech/self-supervised-learning/\
BEST-RQ under its Brain
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretrain_audio import PeerDataset, peer_batches, sampler
from torch import nn

from nar_asr_lobes.dataio.datasets import SpeechDataset, step_loader
from nar_asr_lobes.dataio.manifest import Utterance

RATE, BETAS, DECAY, CLIP = 1e-4, (0.9, 0.98), 0.01, 1.0


class Setting(NamedTuple):
    """Input of all models."""

    utterances: Sequence[Utterance]
    device: str
    precision: str
    workers: int
    compile: bool


class Model(ABC):
    """A model that can be timed.

    Arguments
    ---------
    setting : Setting
        Data, device and precision.
    """

    name: str

    def __init__(self, setting: Setting):
        self.setting = setting
        torch.manual_seed(0)
        np.random.seed(0)

    @abstractmethod
    def trained(self) -> nn.Module:
        """Parameters that the optimiser updates."""

    @abstractmethod
    def batches(
        self, size: int, workers: int
    ) -> Iterator[tuple[float, object]]:
        """Load (seconds of audio, batch) without an end."""

    @abstractmethod
    def count_only(self) -> None:
        """Be what operations are counted of: called before the count."""

    @abstractmethod
    def ready(self) -> None:
        """Be what is timed: called after the count."""

    @abstractmethod
    def step(self, batch: object) -> None:
        """Do everything that a training step does with a batch."""


class Ours(Model):
    """BEST-RQ on the Gabor stem, 25 Hz, 95.1 M parameters."""

    name = "ours"
    sizes = {"stem": "gabor", "ffn_dim": 2176}

    def __init__(self, setting: Setting):
        from nar_asr_lobes.lobes.config import ModelConfig
        from nar_asr_lobes.lobes.masking import SpecAugment
        from nar_asr_lobes.objectives.best_rq import BestRqObjective
        from nar_asr_lobes.training.brain import NarBrain
        from nar_asr_lobes.training.checkpoint import CheckpointFolder
        from nar_asr_lobes.training.config import OptimConfig
        from nar_asr_lobes.training.optim.scheduler import WarmupCosine

        super().__init__(setting)
        config = ModelConfig(
            **self.sizes,
            stem_channels=512,
            d_model=768,
            heads=12,
            encoder_layers=12,
        )
        objective = BestRqObjective(
            0.5, 10, spec_augment=SpecAugment(2, 2, 0.3, 0.05)
        )
        options = {"device": setting.device, "compile": setting.compile}
        self.brain = NarBrain(
            objective.build_model(config),
            objective,
            OptimConfig(
                partial(
                    torch.optim.AdamW,
                    betas=BETAS,
                    weight_decay=DECAY,
                    fused=True,
                ),
                partial(WarmupCosine, RATE),
                max_grad_norm=CLIP,
            ),
            1_000_000,
            CheckpointFolder(Path(tempfile.gettempdir(), "not_written"), 2),
            run_opts=options,
            precision=setting.precision,
        )

    def trained(self) -> nn.Module:
        """Parameters that the optimiser updates."""
        return self.brain.model

    def batches(
        self, size: int, workers: int
    ) -> Iterator[tuple[float, object]]:
        """Load as the trainer does."""
        utterances = self.setting.utterances
        loader = step_loader(
            SpeechDataset(utterances), sampler(utterances, size), workers
        )
        for batches in self.brain.steps(loader):
            seconds = sum(item.batch.seconds for item in batches)
            yield seconds, batches

    def count_only(self) -> None:
        """Make the optimiser; nothing is compiled yet."""
        self.brain.init_optimizers()
        self.brain.modules.train()

    def ready(self) -> None:
        """Compile, if asked to."""
        self.brain.on_fit_start()

    def step(self, batch: object) -> None:
        """One step of the trainer."""
        self.brain.make_step(batch)


class OursAt50Hz(Ours):
    """The same on the stem of wav2vec 2.0, 50 Hz, 95.4 M parameters."""

    name = "ours, 50 Hz"
    sizes = {"stem": "wav2vec2", "ffn_dim": 2048}


class Peer(Model):
    """A model that is not ours, with the loader of its own framework."""

    @abstractmethod
    def collate(self, wavs: list[np.ndarray]) -> object:
        """Make a batch of waveforms, with all random draws."""

    def batches(
        self, size: int, workers: int
    ) -> Iterator[tuple[float, object]]:
        """Load (seconds of audio, batch) without an end."""
        pin = self.setting.device != "cpu"
        dataset = PeerDataset(self.setting.utterances, self.collate)
        return peer_batches(dataset, size, workers, pin)


class Transformers(Peer):
    """Wav2Vec2ForPreTraining, base.

    In its favour: the base model's convolutions with one group norm, where
    the example script wants the slower ones with a layer norm each; the loss
    is divided by its count at once instead of every gradient; one clipping
    instead of a norm read back for each parameter; batches made in worker
    processes. As for all base models there is no attention mask.
    """

    name = "transformers"

    def __init__(self, setting: Setting):
        from transformers import (
            Wav2Vec2Config,
            Wav2Vec2FeatureExtractor,
            Wav2Vec2ForPreTraining,
        )
        from transformers.models.wav2vec2 import modeling_wav2vec2

        super().__init__(setting)
        self.helpers = modeling_wav2vec2
        config = Wav2Vec2Config(mask_time_prob=0.65)  # as its README has it
        self.extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
        self.model = Wav2Vec2ForPreTraining(config).to(setting.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), RATE, BETAS, weight_decay=DECAY
        )
        self.layerdrop = config.layerdrop

    def trained(self) -> nn.Module:
        """Parameters that the optimiser updates."""
        return self.model

    def count_only(self) -> None:
        """Count all layers."""
        self.model.config.layerdrop = 0.0

    def ready(self) -> None:
        """Leave out a layer now and then, as configured."""
        self.model.config.layerdrop = self.layerdrop

    def collate(self, wavs: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """Normalise, pad, and draw masks and negatives."""
        found = self.extractor(
            wavs, sampling_rate=16000, padding="longest", return_tensors="pt"
        )
        values, config = found["input_values"], self.model.config
        frames = int(
            self.model._get_feat_extract_output_lengths(values.shape[-1])
        )
        shape = (len(wavs), frames)
        mask = self.helpers._compute_mask_indices(
            shape, config.mask_time_prob, config.mask_time_length
        )
        negatives = self.helpers._sample_negative_indices(
            shape, config.num_negatives, mask_time_indices=mask
        )
        return {
            "input_values": values,
            "mask_time_indices": torch.tensor(mask, dtype=torch.long),
            "sampled_negative_indices": torch.tensor(
                negatives, dtype=torch.long
            ),
        }

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        """Forward, backward, clip, AdamW."""
        device, bf16 = self.setting.device, self.setting.precision == "bf16"
        batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = self.model(**batch).loss / batch["mask_time_indices"].sum()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()


class SpeechBrain(Peer):
    """The recipe's Fbank and Conformer, with its sizes."""

    name = "speechbrain"

    def __init__(self, setting: Setting):
        from pretrain_speechbrain import make_brain

        super().__init__(setting)
        self.brain = make_brain(
            setting.device,
            setting.precision,
            partial(
                torch.optim.AdamW, lr=RATE, betas=BETAS, weight_decay=DECAY
            ),
        )

    def trained(self) -> nn.Module:
        """Parameters that the optimiser updates."""
        return self.brain.modules

    def collate(self, wavs: list[np.ndarray]) -> object:
        """Make a batch as its recipe does."""
        from pretrain_speechbrain import collate

        return collate(wavs)

    def count_only(self) -> None:
        """Make the optimiser."""
        self.brain.on_fit_start()
        self.brain.modules.train()

    def ready(self) -> None:
        """Stay as it is."""

    def step(self, batch: object) -> None:
        """One step of its Brain."""
        self.brain.fit_batch(batch)


MODELS = {
    "ours": Ours,
    "same_stem": OursAt50Hz,
    "transformers": Transformers,
    "speechbrain": SpeechBrain,
}
