"""A training with a damaged utterance and a NaN, for test_damaged_ranks.py."""

import torch
import torch.distributed as dist

from nar_asr_lobes.dataio.batching import StepSampler
from nar_asr_lobes.dataio.datasets import SpeechDataset, step_loader
from nar_asr_lobes.errors import audio_error
from tests.training.ranks import join, start
from tests.training.runs import weights

STEPS, DAMAGED, NAN_STEP, NAN = 20, 3, 6, 1


class FaultySet(SpeechDataset):
    """From the third step on one clip is damaged; in the seventh one is NaN."""

    broken = False

    def load(self, index, memory=None):
        if self.broken and index == DAMAGED:
            raise audio_error("3.flac", "is damaged", "copy it again")
        return super().load(index, memory)

    def __getitem__(self, plan):
        self.broken = plan.step >= 2
        step = super().__getitem__(plan)
        for batch in step if plan.step == NAN_STEP else ():
            for row, name in enumerate(batch.ids):
                if name == self.utterances[NAN].id:
                    batch.wavs[row, 100] = torch.nan
        return step


def train(folder, clips, rank=0, ranks=1):
    """Train in float64; give losses, weights, counters and damaged.txt."""
    torch.set_default_dtype(torch.float64)
    single, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
    try:
        brain = start("pretrain", f"{folder}/checkpoints", STEPS, peak_lr=1e-4)
        brain.max_damaged = 100
        losses, empty, make_step = [], [], brain.make_step

        def watched(prepared, *following):
            empty.append(not prepared)
            averages = make_step(prepared, *following)
            losses.append(averages["loss"])
            return averages

        brain.make_step = watched
        sampler = StepSampler(
            [clip.duration for clip in clips],
            global_batch=7,
            steps=STEPS,
            max_batch_seconds=3.0,
            bucket_steps=2,
            rank=rank,
            ranks=ranks,
            seed=1,
        )
        dataset = FaultySet(clips)
        brain.fit(step_loader(dataset, sampler))
        return {
            "losses": losses,
            "weights": weights(brain),
            "progress": vars(brain.progress),
            "empty": sum(empty),
        }
    finally:
        torch.set_default_dtype(torch.float32)
        torch.Tensor.float = single


def work(rank, folder, clips, ranks):
    """Train as one of some processes."""
    join(rank, ranks, folder)
    torch.save(train(folder, clips, rank, ranks), f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()
