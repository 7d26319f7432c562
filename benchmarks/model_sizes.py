"""Parameters, operations and speed of the models in hparams/model.

    python benchmarks/model_sizes.py

Operations are those of matrix products and convolutions (a multiplication and
an addition are two), by torch's FlopCounterMode, for the encoder and CTC head
on ten seconds of audio. Speed is that of the greedy search, waveform to tokens,
on one thread in float32: seconds of audio per second of CPU time, the median
of some rounds in which the sizes take turns. Weights are random.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import NarAsr, build_model
from nar_asr_lobes.lobes.stems import SAMPLE_RATE

MODELS = Path(__file__).parents[1] / "hparams" / "model"
SIZES = ("tiny", "mini", "small", "medium", "base", "large")
TIMED = SIZES[:4]
SECONDS, VOCABULARY = 10, 32


def make_model(size: str) -> NarAsr:
    """Build a model from its YAML, with random weights."""
    text = (MODELS / f"{size}.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    return build_model(ModelConfig.from_dict(values), VOCABULARY).eval()


def make_input() -> tuple[torch.Tensor, torch.Tensor]:
    """Make ten seconds of noise, on the default device."""
    return torch.randn(1, SECONDS * SAMPLE_RATE), torch.ones(1)


def count_parameters(model: NarAsr) -> tuple[int, int]:
    """Count those of the encoder with the CTC head, and of all."""
    counts = {n: p.numel() for n, p in model.named_parameters()}
    decoder = sum(c for n, c in counts.items() if n.startswith("decoder."))
    total = sum(counts.values())
    return total - decoder, total


def count_operations(model: NarAsr) -> float:
    """Count operations per second of audio."""
    # The counter does not know the CPU's fused attention.
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
    ):
        model.encode(*make_input())
    return counter.get_total_flops() / SECONDS


def measure_round(models: dict[str, NarAsr]) -> dict[str, float]:
    """Give the speed of each model, in turn."""
    speeds = {}
    for size, model in models.items():
        start = time.process_time()
        with torch.inference_mode():
            encoded = model.encode(*make_input())
            greedy_paths(encoded.log_probs, encoded.lengths)
        speeds[size] = SECONDS / (time.process_time() - start)
    return speeds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="0: no times")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    timed = {size: make_model(size) for size in TIMED if rounds}
    found = [measure_round(timed) for _ in range(rounds + 1)][1:]
    print("| model | encoder and CTC, M | with decoder, M | ", end="")
    print("GFLOP per s of audio | audio s per core-s, greedy |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        model = make_model(size)
        small, total = count_parameters(model)
        flops = count_operations(model)
        speed = "not measured"
        if size in timed:
            middle = statistics.median(speeds[size] for speeds in found)
            speed = f"{middle:,.0f}"
        print(
            f"| `{size}` | {small / 1e6:.2f} | {total / 1e6:.2f} | "
            f"{flops / 1e9:.3f} | {speed} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
