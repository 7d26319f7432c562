"""Gain of each design choice of the network, one training each.

    python benchmarks/design_variants.py VARIANT --data_folder=DIR \
        --output_folder=DIR [--steps=1000] [any other option of a recipe]

Trains the Synthetic recipe from random weights without a language model and
ends with one JSON line: test WER of ctc_greedy and nar, seconds of training.
Variants: gabor (the default), random (its filters start as noise of the same
energy), frozen (its filters do not learn), wav2vec2 (the stack of wav2vec 2.0
at 50 Hz, the same width) and even_slots (the decoder's slots first look at
evenly spread frames instead of the frames that CTC aligns them to).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "recipes" / "Synthetic"))

from synthetic_prepare import prepare  # noqa: E402

from nar_asr_lobes.lobes import stems  # noqa: E402
from nar_asr_lobes.lobes.nar_decoder import NarDecoder  # noqa: E402
from nar_asr_lobes.training.run import main as run  # noqa: E402

VARIANTS = ("gabor", "random", "frozen", "wav2vec2", "even_slots")
# Section, its fragment in hparams/, what is replaced in it, by what.
EDITS = {
    "frozen": ("optim", "adamw_cosine.yaml", "filters: False", "filters: True"),
    "wav2vec2": ("model", "small.yaml", "stem: gabor", "stem: wav2vec2"),
}
SETTINGS = {
    "init_from": "null",
    "lm": "null",
    "modes": "[ctc_greedy, nar]",
    "steps": "1000",
    "global_batch": "8",
    "peak_lr": "1.0e-3",
}


def main(arguments: list[str]) -> int:
    """Train one variant; give the exit status."""
    if not arguments or arguments[0] not in VARIANTS:
        print(__doc__, file=sys.stderr)
        return 2
    variant, *rest = arguments
    options = dict(SETTINGS)
    options.update(word.removeprefix("--").split("=", 1) for word in rest)
    if variant in EDITS:
        section, *edit = EDITS[variant]
        path = Path(options["output_folder"] + ".yaml").absolute()
        path.write_text(edited(section, *edit), encoding="utf-8")
        options[section] = f"!include:{path}"
    words = [f"--{key}={value}" for key, value in options.items()]
    recipe = str(ROOT / "recipes" / "Synthetic" / "hparams" / "finetune.yaml")
    with patch_of(variant):
        status = run([recipe, *words, "--noprogressbar"], prepare)
    if status == 0:
        print(json.dumps({"variant": variant, **outcome(options)}))
    return status


def edited(section: str, fragment: str, old: str, new: str) -> str:
    """Give the text of a fragment with one thing changed."""
    text = (ROOT / "hparams" / section / fragment).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{fragment} has {old!r} {text.count(old)} times")
    return text.replace(old, new)


def patch_of(variant: str) -> mock._patch:
    """Give what replaces a part of the package while a variant trains."""
    if variant == "random":
        return mock.patch.object(stems, "gabor_filters", noise_filters)
    if variant == "even_slots":
        forward = NarDecoder.forward

        def even(self, tokens, token_lens, states, lengths, target_frames=None):
            return forward(self, tokens, token_lens, states, lengths)

        return mock.patch.object(NarDecoder, "forward", even)
    return mock.patch.dict({})


def noise_filters(filters: int, kernel: int) -> torch.Tensor:
    """Stand in for `gabor_filters`: noise, unit energy for each pair."""
    return torch.randn(2 * filters, 1, kernel) / (2 * kernel) ** 0.5


def outcome(options: dict[str, str]) -> dict[str, float]:
    """Read what a finished run wrote."""
    folder = Path(options["output_folder"])
    test = json.loads((folder / "results.json").read_text(encoding="utf-8"))[
        "test"
    ]
    seconds = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
    return {
        "steps": int(options["steps"]),
        **{mode: round(row["wer"], 4) for mode, row in test.items()},
        "seconds": seconds["finetune"],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
