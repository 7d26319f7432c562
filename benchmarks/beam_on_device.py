"""Cost of a beam of 5 with an n-gram beside the encoder, on a GPU.

    python benchmarks/beam_on_device.py [--device=cuda] [--model=base] \
        [--utterances=64] [--seconds=15] [--rounds=5]

The encoder has random weights and reads noise; its time does not depend on
them. Searched are the peaky posteriors of ``beam_search.py`` (25 frames a
second, 1,024 pieces and the blank, a 4-gram of pieces), two to an utterance and
cut to its length, in two ways:

    device  batched_prefix_beam_search where the encoder is
    host    posteriors brought to the CPU, prefix_beam_search in all its
            threads; this can run beside the encoder's next batch

Prints milliseconds (medians of interleaved rounds) and ends with one JSON line:
each search's time over the encoder's. ``--device=cpu --model=tiny
--utterances=2 --seconds=4`` tries it anywhere.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from beam_inputs import FRAME_SECONDS, PIECES, peaky_task

from nar_asr_lobes.decoding.batched_beam import batched_prefix_beam_search
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.lobes.model import build_model

MODELS = Path(__file__).resolve().parent.parent / "hparams" / "model"
SAMPLE_RATE = 16000


def milliseconds(work: Callable, device: torch.device) -> float:
    """Time one call, until the device has finished."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - start)


def tasks(arguments: argparse.Namespace) -> dict[str, Callable]:
    """Make the input of each task; return what is to be timed."""
    device = torch.device(arguments.device)
    sizes = yaml.safe_load(
        (MODELS / f"{arguments.model}.yaml").read_text(encoding="utf-8")
    )
    model = build_model(sizes, PIECES + 1).to(device).eval()
    count, samples = arguments.utterances, int(SAMPLE_RATE * arguments.seconds)
    wavs = torch.randn(count, samples, device=device)
    wav_lens = torch.ones(count, device=device)
    frames = int(arguments.seconds / FRAME_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        task = peaky_task(3 * count, Path(folder))
    halves = task.measured.posteriors
    log_probs = torch.nn.utils.rnn.pad_sequence(
        [
            torch.from_numpy(np.concatenate(halves[i : i + 2])[:frames])
            for i in range(0, 2 * count, 2)
        ],
        batch_first=True,
    ).to(device)
    batched = task.lm.batched(device)
    lengths = [
        min(frames, sum(map(len, halves[i : i + 2])))
        for i in range(0, 2 * count, 2)
    ]
    options = BeamOptions(lm_weight=0.5, token_bonus=0.5)

    def encode():
        with torch.autocast(
            device.type, torch.bfloat16, enabled=device.type == "cuda"
        ):
            model.encode(wavs, wav_lens)

    def search_on_device():
        batched_prefix_beam_search(log_probs, lengths, options, batched)

    def search_on_host():
        rows = zip(log_probs.cpu(), lengths, strict=True)
        prefix_beam_search([row[:n] for row, n in rows], options, task.lm)

    return {
        "encoder": encode,
        "device": search_on_device,
        "host": search_on_host,
    }


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="base")
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    work = tasks(arguments)
    for task in work.values():
        task()  # compiles, allocates
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(arguments.rounds):
        for name, task in work.items():
            times[name].append(milliseconds(task, device))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:8} {median:9.1f} ms")
    encoder = medians.pop("encoder")
    shares = {name: round(ms / encoder, 3) for name, ms in medians.items()}
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
