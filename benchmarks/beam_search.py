"""The CTC prefix beam search against other decoders, on the same posteriors.

    python benchmarks/beam_search.py --bundle=DIR --data_folder=DIR
        [--pyctcdecode=PYTHON] [--utterances=200] [--rounds=5]

Beam 5 and a language model; one thread; the decoders take turns, a round of as
many searches as take half a second each, and processor time counts, the median
of the rounds. Two sets of posteriors at 25 frames a second:

- of the bundle's model on the test split of data_folder, which has an
  utterances.tsv (the recipe Speechocean762 makes one such bundle); its texts
  for the language models are those of the split train. Words are counted.
- peaky ones with 1,024 pieces, made here from Python's own docstrings. Pieces
  are counted.

flashlight-text takes the same n-gram of pieces as ours. SpeechBrain and
pyctcdecode can only take one of words: ours takes the same one in the first set
and is compared by it; 1,024 pieces cannot spell one, so there ours has its
n-gram of pieces, of the same text. Each decoder's weights are chosen on a third
of the utterances, and so is how much it prunes (ours as by default); figures
are of the rest. Needs flashlight-text, kenlm and pygtrie; PYTHON, which has an
older numpy, needs pyctcdecode and kenlm. What is missing is "not run".

Prints error rates and times faster than speech; how long nearly flat posteriors
and those of an untrained model take; and at last one JSON line: how many times
as long as ours each decoder takes, the lower of both sets, null if not run.
``vs_greedy`` is of the whole recognition, audio in memory to text, by the
clock: (encoder + greedy search) / (encoder + beam 5 with the bundle's n-gram);
above 0.87 the beam costs less than 15 % on top.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from beam_inputs import (
    FRAME_SECONDS,
    PIECES,
    Part,
    Task,
    flat,
    peaky,
    peaky_task,
    real_batches,
    real_task,
)
from beam_peers import (
    Decoder,
    Flashlight,
    Ours,
    OursOfWords,
    Pyctcdecode,
    SpeechBrain,
    tuned,
)

from nar_asr_lobes.dataio.datasets import Batch
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.inference.bundle import Bundle, load_bundle
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import build_model

KEYS = {
    "vs_speechbrain": SpeechBrain.name,
    "vs_flashlight": Flashlight.name,
    "vs_pyctcdecode": Pyctcdecode.name,
}
LONG_SECONDS, REPEATS, ROUND_SECONDS = 30, 100, 0.5


def decoders(task: Task, python: str | None, folder: Path) -> Iterator[Decoder]:
    """Yield the decoders that are there; name those that are not."""
    makers = [Ours, Flashlight, SpeechBrain]
    if task.word_lm is not None:
        makers.insert(1, OursOfWords)
    if python:
        makers.append(lambda task: Pyctcdecode(task, python, folder))
    else:
        print(f"{Pyctcdecode.name:16} not run: no --pyctcdecode")
    for maker in makers:
        try:
            yield maker(task)
        except ImportError as error:
            print(f"{maker.name:16} not run: {error}")


def compare(
    task: Task, options: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """Print one set's table; give how much longer than ours each takes."""
    part = task.measured
    audio = part.frames * task.frame_seconds
    error = task.error(part, greedy_texts(task, part))
    print(f"\n{task.name}: {len(part.references)} utterances, {audio:.0f} s")
    present = list(decoders(task, options.pyctcdecode, folder))
    settings = {d.name: tuned(d, task) for d in present}
    first = {d.name: d.search(part, **settings[d.name]) for d in present}
    seconds = {d.name: [] for d in present}
    for _ in range(options.rounds):
        for decoder in present:
            name = decoder.name
            searches = math.ceil(ROUND_SECONDS / first[name].seconds)
            results = [
                decoder.search(part, **settings[name]) for _ in range(searches)
            ]
            seconds[name].append(mean(r.seconds for r in results))
    print(f"{'greedy':16} {error:6.2f} % wrong")
    each = {name: median(rounds) for name, rounds in seconds.items()}
    ratios = against_ours(each)
    for name, result in first.items():
        error = task.error(part, result.texts)
        speed = audio / each[name]
        print(
            f"{name:16} {error:6.2f} % wrong, {speed:7,.0f} x real time, "
            f"{ratios[name]:6.2f} times as long as ours: {settings[name]}"
        )
    return ratios


def against_ours(seconds: dict[str, float]) -> dict[str, float]:
    """Divide by our time with the same language model, if it can take it."""
    words = seconds.get(OursOfWords.name, seconds[Ours.name])
    pieces = dict.fromkeys((Ours.name, Flashlight.name), seconds[Ours.name])
    return {name: s / pieces.get(name, words) for name, s in seconds.items()}


def greedy_texts(task: Task, part: Part) -> list[str]:
    """The most probable labels, repeats and blanks left out."""
    texts = []
    for values in part.posteriors:
        path = values.argmax(axis=1)
        first = np.diff(path, prepend=0) != 0
        tokens = path[first & (path > 0)].tolist()
        texts.append(task.tokenizer.decode(tokens))
    return texts


def flat_against_peaky(task: Task, rounds: int) -> None:
    """Print how much longer posteriors that know little take."""
    rng = np.random.default_rng(1)
    frames = int(LONG_SECONDS / FRAME_SECONDS)
    tokens = task.tokenizer.encode(" ".join(task.measured.references))
    kinds = {
        "peaky": peaky(rng, tokens[: frames // 4]),
        "nearly flat": flat(rng, frames),
        "untrained model": untrained(),
    }
    options = DecodingOptions().beam5_lm
    print(f"\n{LONG_SECONDS} s, {PIECES:,} pieces, n-gram, default weights")
    seconds = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, values in kinds.items():
            start = time.process_time()
            prefix_beam_search([values] * REPEATS, options, task.lm)
            each = (time.process_time() - start) / (REPEATS * len(values))
            seconds[name].append(each)
    alone = {name: median(times) for name, times in seconds.items()}
    for name, each in alone.items():
        print(
            f"{name:16} {FRAME_SECONDS / each:9,.0f} x, "
            f"{each / alone['peaky']:.2f} times as long"
        )


@torch.inference_mode()
def untrained() -> np.ndarray:
    """Posteriors of noise, from a model before its first step."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.tiny(), PIECES + 1).eval()
    encoded = model.encode(torch.randn(1, LONG_SECONDS * 16000), torch.ones(1))
    return encoded.log_probs[0].numpy()


def against_greedy(bundle: Bundle, batches: list[Batch], rounds: int) -> float:
    """Print and give greedy's share of the time of beam 5 with n-gram."""
    recognizer = Recognizer(
        bundle.model, bundle.tokenizer, bundle.options, bundle.lms
    )
    modes = ["ctc_greedy", "beam5_lm"]
    ratios = []
    for _ in range(rounds):
        encoder, seconds = 0.0, dict.fromkeys(modes, 0.0)
        for batch in batches:
            found = recognizer.recognize(batch.wavs, batch.wav_lens, modes)
            encoder += found.encoder_seconds
            for mode in modes:
                seconds[mode] += found.modes[mode].seconds
        ratios.append(
            (encoder + seconds["ctc_greedy"]) / (encoder + seconds["beam5_lm"])
        )
    audio = sum(batch.seconds for batch in batches)
    print(f"\nwhole recognition of {audio:.0f} s, last round in seconds:")
    print(
        f"encoder {encoder:.3f}, "
        + ", ".join(f"{mode} {seconds[mode]:.3f}" for mode in modes)
    )
    return median(ratios)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle")
    parser.add_argument("--data_folder")
    parser.add_argument("--pyctcdecode")
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    found = parser.parse_args()
    if (found.bundle is None) != (found.data_folder is None):
        parser.error("--bundle and --data_folder belong together")
    return found


def main() -> None:
    """Measure and print."""
    options = arguments()
    torch.set_num_threads(1)
    ratios, vs_greedy = [], None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "peaky")
        folder.mkdir()
        task = peaky_task(options.utterances, folder)
        ratios.append(compare(task, options, folder))
        flat_against_peaky(task, options.rounds)
        if options.bundle:
            folder = Path(name, "real")
            folder.mkdir()
            bundle = load_bundle(options.bundle)
            batches = real_batches(
                options.data_folder, bundle.text_style, options.utterances
            )
            task = real_task(bundle, batches, options.data_folder, folder)
            ratios.append(compare(task, options, folder))
            vs_greedy = against_greedy(bundle, batches, options.rounds)
    result = {}
    for key, peer in KEYS.items():
        lowest = min(found.get(peer, math.inf) for found in ratios)
        result[key] = round(lowest, 2) if lowest < math.inf else None
    result["vs_greedy"] = vs_greedy and round(vs_greedy, 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
