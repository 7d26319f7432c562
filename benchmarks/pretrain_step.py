"""A whole step of pre-training, ours against two peers, on the same audio.

    python benchmarks/pretrain_step.py --data_folder=DIR [--device=cuda]
        [--pairs=transformers,speechbrain,same_stem] [--utterances=N]
        [--rounds=5] [--compile | --no-compile] [--workers=4] [--profile]

A step is all that training does: reading WAV files, making the batch, masks
and other draws, forward, backward, clipping, AdamW. DIR has an utterances.tsv
(see the recipe Speechocean762); its utterances are joined to 10 to 15 s.

    ours          BEST-RQ, Gabor stem, 25 Hz, through the trainer
    transformers  Wav2Vec2ForPreTraining, base, with its own masks and negatives
    speechbrain   the recipe BEST-RQ (Fbank, Conformer), under its Brain
    same_stem     ours with the stem and the frame rate of wav2vec 2.0, 50 Hz;
                  compared with transformers

all of 93 to 96 M parameters. On a CPU in float32 with one thread, processor
time, batches of 2; on a GPU in bfloat16 (autocast), clock time, each model at
the batch size of those tried that is fastest for it. The models take turns;
figures are medians of the rounds, ratios those of medians. Utilisation is
counted operations over time over the best rate of a large matrix product in the
same run at the same precision.

Ends with one JSON line: how many times as much audio a second as each peer,
null if not run, and our utilisation. ``--profile`` prints where our step's
time goes instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from pretrain_audio import joined_utterances
from pretrain_measures import Contender, profile, take_turns
from pretrain_models import MODELS, Setting

from nar_asr_lobes.errors import UserError

PAIRS = {  # name: whose speed over whose, and how the result is called
    "transformers": ("ours", "transformers", "vs_transformers"),
    "speechbrain": ("ours", "speechbrain", "vs_speechbrain"),
    "same_stem": ("same_stem", "transformers", "same_stem_vs_transformers"),
}
HOURS = {"cpu": 0.5, "cuda": 8.0}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--utterances", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction)
    parser.add_argument("--profile", action="store_true")
    found = parser.parse_args()
    gpu = found.device == "cuda"
    if found.workers and not gpu:
        parser.error("--workers: their processor time would not be counted")
    if found.workers is None:
        found.workers = 4 if gpu else 0
    if found.compile is None:
        found.compile = gpu
    if found.utterances is None and not gpu:
        found.utterances = 2
    found.pairs = [name for name in found.pairs.split(",") if name]
    unknown = set(found.pairs) - set(PAIRS)
    if unknown:
        parser.error(f"--pairs: {', '.join(unknown)} is none of {list(PAIRS)}")
    return found


def device_name(device: str) -> str:
    """Name the GPU, or say that it is a CPU."""
    return torch.cuda.get_device_name() if device == "cuda" else "one CPU core"


def contenders(
    options: argparse.Namespace, setting: Setting
) -> dict[str, Contender]:
    """Build what the pairs need and is installed."""
    keys = {key for pair in options.pairs for key in PAIRS[pair][:2]} | {"ours"}
    found = {}
    for key in [key for key in MODELS if key in keys]:
        try:
            found[key] = Contender(MODELS[key], setting, options.utterances)
        except (ImportError, RuntimeError) as error:
            print(f"{key:14} not run: {error}")
            continue
        print(found[key].describe(), flush=True)
    return found


def report(
    found: dict[str, Contender], options: argparse.Namespace, peak: float
) -> dict[str, float | None]:
    """Print a line for each model; give the ratios."""
    print(f"matrix product: {peak / 1e12:.3f} TFLOP/s")
    speeds = {key: contender.speed() for key, contender in found.items()}
    use = {k: found[k].flops * speed / peak for k, speed in speeds.items()}
    for key, speed in speeds.items():
        print(
            f"{key:14} {speed:10,.2f} s of audio a second, utilisation "
            f"{100 * use[key]:.1f} %, {found[key].spread()}"
        )
    result = {}
    for pair in options.pairs:
        ours, peer, name = PAIRS[pair]
        there = ours in speeds and peer in speeds
        result[name] = round(speeds[ours] / speeds[peer], 2) if there else None
    result["utilisation"] = round(use["ours"], 3)
    return result


def main() -> None:
    """Measure and print."""
    options = arguments()
    torch.set_num_threads(1)
    precision = "bf16" if options.device == "cuda" else "fp32"
    with tempfile.TemporaryDirectory() as folder:
        count = int(HOURS[options.device] * 3600 / 12.5)
        setting = Setting(
            joined_utterances(options.data_folder, Path(folder), count),
            options.device,
            precision,
            options.workers,
            options.compile,
        )
        total = sum(u.duration for u in setting.utterances)
        print(
            f"{len(setting.utterances)} utterances, {total / 3600:.2f} h; "
            f"{precision} on {device_name(options.device)}"
        )
        if options.profile:
            profile(Contender(MODELS["ours"], setting, options.utterances))
            return
        found = contenders(options, setting)
        if "ours" not in found:
            raise SystemExit("ours could not be built: nothing to compare")
        peak = take_turns(list(found.values()), options.rounds)
        print(json.dumps(report(found, options, peak)))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
