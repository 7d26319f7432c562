"""Errors in noise: white noise and babble at 20, 10 and 5 dB.

python benchmarks/accuracy/noise.py --data_folder=DIR --bundle=OURS \\
    --ctc=OUTPUT_FOLDER_OF_speechbrain_ctc --output_folder=DIR

The noises are those of ``nar-asr robustness``; they follow from the utterance's
name, so that every system hears the same. Both models' posteriors are searched
greedily and with a beam of 5 and their n-grams, weights tuned on clean dev.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from joint_decode import load_model
from peer_data import SETS, Split, load_split
from peer_training import log_posteriors

from nar_asr_lobes.dataio.audio.distortions import draw_speakers
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer, load_tokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.encoded import posteriors
from nar_asr_lobes.decoding.greedy import greedy_paths
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.tuning import tune_beam
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.evaluation.robustness.conditions import Clip, Condition
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.lm.models import LanguageModel
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.storage import write_text

NOISES = ("white", "babble")
RATIOS_DB = (20, 10, 5)
Encode = Callable[[Split], list[torch.Tensor]]


def distort(condition: Condition, split: Split, index: int) -> np.ndarray:
    """Distort one utterance, int16 [S]."""
    draws = condition.draws(split.ids[index])
    voices = partial(_voices, split, split.speakers[index])
    clip = Clip(split.waveform(index).numpy(), draws, voices)
    return np.round(condition.distort(clip) * 32767).astype(np.int16)


def _voices(
    split: Split, speaker: str, rng: np.random.Generator
) -> list[np.ndarray]:
    chosen = draw_speakers(rng, split.speakers, speaker)
    return [split.wavs[index] for index in chosen]


def conditions(split: Split) -> Iterator[tuple[str, Split]]:
    """Yield the clean split, then each noise at each ratio."""
    yield "clean", split
    for kind in NOISES:
        for ratio in RATIOS_DB:
            condition = Condition(kind, ratio)
            wavs = [distort(condition, split, i) for i in range(len(split))]
            yield condition.name, replace(split, wavs=wavs)


def recognize(
    log_probs: list[torch.Tensor],
    tokenizer: Tokenizer,
    options: BeamOptions,
    lm: LanguageModel,
) -> dict[str, list[str]]:
    """Search posteriors greedily and with the language model."""
    paths = [
        greedy_paths(row[None], torch.tensor([len(row)]))[0]
        for row in log_probs
    ]
    found = prefix_beam_search(log_probs, options, lm)
    return {
        "greedy": [tokenizer.decode(path.tokens) for path in paths],
        "beam5_lm": [tokenizer.decode(nbest[0].tokens) for nbest in found],
    }


def measure(
    encode: Encode,
    tokenizer: Tokenizer,
    lm: LanguageModel,
    dev: Split,
    split: Split,
) -> dict[str, dict[str, dict[str, float]]]:
    """Give condition -> mode -> WER and CER in percent."""
    tuned = tune_beam(encode(dev), dev.texts, tokenizer, lm)
    table = {}
    for name, noisy in conditions(split):
        found = recognize(encode(noisy), tokenizer, tuned.best, lm)
        table[name] = {}
        for mode, texts in found.items():
            counts = score(split.ids, split.texts, texts)
            table[name][mode] = {
                "wer": 100 * counts.wer,
                "cer": 100 * counts.cer,
            }
        print(name, table[name], flush=True)
    return table


def format_table(results: dict[str, dict], mode: str, rate: str) -> str:
    """Lay out one mode: each system's rate, and by how much it has grown."""
    lines = [f"| {mode}, {rate.upper()} % | " + " | ".join(results) + " |"]
    lines.append("|" + "---|" * (len(results) + 1))
    for name in next(iter(results.values())):
        cells = []
        for table in results.values():
            value = table[name][mode][rate]
            clean = table["clean"][mode][rate]
            cells.append(f"{value:.2f} ({value / clean - 1:+.0%})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines).replace("%)", " %)")


@torch.no_grad()
def _encode_ours(model, split: Split) -> list[torch.Tensor]:
    model.eval()
    return [
        posteriors(model.encode(split.waveform(i)[None], torch.ones(1)))[0]
        for i in range(len(split))
    ]


def main() -> None:
    """Measure the systems named, print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--set", choices=SETS, default="speechocean762")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--ctc", type=Path)
    parser.add_argument("--output_folder", required=True, type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, parts in _systems(options):
        encode, tokenizer, lm = parts
        dev, split = (
            load_split(options.data_folder, options.set, part, tokenizer)
            for part in ("dev", options.split)
        )
        results[name] = measure(encode, tokenizer, lm, dev, split)
    tables = [
        format_table(results, mode, rate)
        for mode in ("greedy", "beam5_lm")
        for rate in ("wer", "cer")
    ]
    print("\n\n".join(tables))
    output = options.output_folder / f"noise-{options.split}"
    write_text(output.with_suffix(".json"), json.dumps(results, indent=1))
    write_text(output.with_suffix(".md"), "\n\n".join(tables) + "\n")


def _systems(
    options: argparse.Namespace,
) -> Iterator[tuple[str, tuple[Encode, Tokenizer, LanguageModel]]]:
    if options.bundle:
        bundle = load_bundle(options.bundle)
        yield (
            "ours",
            (
                lambda split: _encode_ours(bundle.model, split),
                bundle.tokenizer,
                bundle.lms.ngram,
            ),
        )
    if options.ctc:
        tokenizer = load_tokenizer(options.ctc / "tokenizer.json")
        model = load_model(options.ctc, tokenizer, decoder_layers=0)
        yield (
            "SpeechBrain CTC",
            (
                lambda split: log_posteriors(model, split),
                tokenizer,
                NgramLM.load(options.ctc / "lm.ngram", tokenizer),
            ),
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
