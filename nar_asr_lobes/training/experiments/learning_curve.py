"""The error rate by hours of labels, and its extrapolation.

a fine-tuning's YAML -> a training for each share of the labels and seed
    -> errors of each utterance of a test split -> Curve: points and rates
Curve, resampled speakers and seeds -> power laws -> Forecast
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import read_error_counts
from nar_asr_lobes.training.config import LmConfig, RunConfig
from nar_asr_lobes.training.experiments.power_law import (
    PowerLaw,
    fit_power_law,
)
from nar_asr_lobes.training.experiments.trainings import Training
from nar_asr_lobes.training.hparams import load_run, parse_arguments

RESULTS = "results.json"
SAMPLES = 2000
_OURS = ("output_folder", "seed", "train_share")


@dataclass(frozen=True)
class Point:
    """The trainings on one share of the labels.

    Arguments
    ---------
    share, hours, utterances : float, float, int
        Of the labels that were trained on.
    rates : dict
        By mode the error rate of each seed.
    """

    share: float
    hours: float
    utterances: int
    rates: dict[str, list[float]]


@dataclass(frozen=True)
class Curve:
    """The finished trainings of a recipe.

    Arguments
    ---------
    split, mode, rate : str
        Test split and decoding mode of the extrapolation; "wer" or "cer".
    points : list of Point
        By share, [P].
    speakers : int
        Of the test split; its utterances where no speaker is known.
    drawn : numpy.ndarray
        Error rates of resampled speakers and seeds, [SAMPLES, P].
    """

    split: str
    mode: str
    rate: str
    points: list[Point]
    speakers: int
    drawn: np.ndarray

    @property
    def hours(self) -> list[float]:
        """Hours of each point."""
        return [point.hours for point in self.points]

    @property
    def means(self) -> np.ndarray:
        """Mean error rate of the seeds at each point, [P]."""
        return np.array([np.mean(x.rates[self.mode]) for x in self.points])


@dataclass(frozen=True)
class Forecast:
    """Power laws through a curve.

    Arguments
    ---------
    law : PowerLaw
        Through the means of the seeds; one.
    drawn : PowerLaw
        Through the resampled rates; SAMPLES.
    """

    law: PowerLaw
    drawn: PowerLaw

    def rates(self, hours: Sequence[float]) -> np.ndarray:
        """Give the rates at H hours, and their 95 % intervals, [3, H]."""
        ends = np.quantile(self.drawn.rates(hours), [0.025, 0.975], axis=0)
        return np.concatenate([self.law.rates(hours), ends])

    def hours(self, rate: float) -> list[float]:
        """Give the hours that a rate needs, and their 95 % interval.

        They are infinite where the curve does not come so low.
        """
        # by rank, for infinite values cannot be interpolated
        ends = np.quantile(
            self.drawn.hours(rate), [0.025, 0.975], method="nearest"
        )
        return [float(self.law.hours(rate)[0]), *map(float, ends)]


def plan_trainings(
    yaml: Path,
    output: Path,
    shares: Sequence[float],
    seeds: int,
    options: Sequence[str],
) -> tuple[RunConfig, dict[Training, float]]:
    """Plan a training for each share and seed, and check the options.

    Arguments
    ---------
    yaml : Path
        Of a fine-tuning, in the folder hparams of a recipe.
    output : Path
        Absolute; gets a folder for each training.
    shares : sequence of float
        Of the labels; at least two.
    seeds : int
        Trainings of each share.
    options : sequence of str
        Of train.py, for all trainings.

    Returns
    -------
    tuple of RunConfig and dict of Training to float
        The configuration of all the labels, and the trainings with their
        shares, the largest first: what is too large fails at once.

    Raises
    ------
    UserError
        For a mistake in the YAML, the shares or the options.
    """
    shares = sorted(set(shares))
    if len(shares) < 2 or not 0 < shares[0] <= shares[-1] <= 1:
        raise UserError(
            "shares: give at least two different ones above 0 and up to 1"
        )
    for option in options:
        name = option.removeprefix("--").partition("=")[0]
        if name in _OURS:
            raise UserError(f"--{name}: is set for each training; leave it out")
    path, _, overrides = parse_arguments([str(yaml), *options])
    config = load_run(path, overrides)
    if config.task != "finetune":
        raise UserError(
            f"{yaml}: its task is {config.task}; name the YAML of a fine-tuning"
        )
    if not (yaml.parent.parent / "train.py").is_file():
        raise UserError(
            f"{yaml}: there is no train.py above its folder; name a YAML in "
            "the folder hparams of a recipe"
        )
    trainings = {
        Training(
            output / f"share-{share:g}-seed-{seed}",
            str(yaml),
            (*options, f"--train_share={share:g}", f"--seed={seed}"),
            RESULTS,
        ): share
        for share in reversed(shares)
        for seed in range(config.seed, config.seed + seeds)
    }
    return config, trainings


def describe_texts(lm: LmConfig | None) -> str:
    """Say which text the n-gram of each training has learned.

    Example
    -------
    >>> describe_texts(LmConfig(texts=["lm.txt"]))
    "n-gram of each share's own transcripts and of all of lm.txt"
    """
    if lm is None:
        return "no n-gram"
    parts = ["each share's own transcripts"] if lm.transcripts else []
    if lm.texts:
        names = ", ".join(Path(text).name for text in lm.texts)
        parts.append(f"all of {names}")
    return "n-gram of " + " and of ".join(parts)


def read_curve(
    config: RunConfig,
    trainings: Mapping[Training, float],
    split: str | None = None,
    mode: str | None = None,
) -> Curve:
    """Read what finished trainings wrote.

    Arguments
    ---------
    config : RunConfig
        Of ``plan_trainings``.
    trainings : mapping of Training to float
        With their shares; those that are not finished are left out.
    split, mode : str, optional
        The first test split and the last mode where not given.

    Returns
    -------
    Curve

    Raises
    ------
    UserError
        For fewer than two finished shares, and an unknown split or mode.
    """
    by_share: dict[float, list[Training]] = {}
    for training, share in trainings.items():
        if training.done:
            by_share.setdefault(share, []).append(training)
    if len(by_share) < 2:
        raise UserError(
            f"{len(by_share)} shares are finished, and a curve needs two; "
            "output.txt in each folder says why the others failed"
        )
    split = split or config.data.test[0]
    shares = sorted(by_share)
    results = {
        share: [_read_results(x, split) for x in by_share[share]]
        for share in shares
    }
    numbers = results[shares[-1]][0]
    mode = mode or list(numbers)[-1]
    if mode not in numbers:
        raise UserError(
            f"mode {mode!r} has no results; choose from {', '.join(numbers)}"
        )
    rate = numbers[mode]["headline"]
    points = [
        _read_point(config, share, by_share[share][0], results[share], rate)
        for share in shares
    ]
    manifest = by_share[shares[-1]][0].folder / "manifests" / f"{split}.jsonl"
    speakers = {x.id: x.speaker or f"\0{x.id}" for x in read_manifest(manifest)}
    errors = [
        [_read_errors(x.folder, split, mode) for x in by_share[share]]
        for share in shares
    ]
    drawn, count = _resample(errors, speakers)
    return Curve(split, mode, rate, points, count, drawn)


def _read_results(training: Training, split: str) -> dict:
    path = training.folder / RESULTS
    found = json.loads(path.read_text(encoding="utf-8"))
    if split not in found:
        raise UserError(
            f"{path}: has no split {split!r}; choose from {', '.join(found)}"
        )
    return found[split]


def _read_point(
    config: RunConfig,
    share: float,
    training: Training,
    results: Sequence[dict],
    rate: str,
) -> Point:
    path = training.folder / "checked" / f"{config.data.train}.jsonl"
    rows = read_manifest(path)
    return Point(
        share,
        sum(row.duration for row in rows) / 3600,
        len(rows),
        {
            mode: [found[mode][rate] for found in results if mode in found]
            for mode in results[0]
        },
    )


def _read_errors(
    folder: Path, split: str, mode: str
) -> dict[str, tuple[int, int]]:
    return read_error_counts(folder / "alignments" / split / f"{mode}.txt")


def _resample(
    errors: Sequence[Sequence[dict[str, tuple[int, int]]]],
    speakers: dict[str, str],
) -> tuple[np.ndarray, int]:
    """Draw speakers, the same ones for all shares, and seeds of each share.

    Gives the rates, [SAMPLES, P], and the number of speakers.
    """
    rng = np.random.default_rng(0)
    names = {name: i for i, name in enumerate(sorted(set(speakers.values())))}
    count = len(names)
    drawn = rng.integers(count, size=(SAMPLES, count))
    drawn += count * np.arange(SAMPLES)[:, None]
    times = np.bincount(drawn.ravel(), minlength=SAMPLES * count)
    times = times.reshape(SAMPLES, count)
    rates = []
    for seeds in errors:
        sums = np.zeros((len(seeds), count, 2))
        for place, counts in enumerate(seeds):
            for key, pair in counts.items():
                sums[place, names[speakers[key]]] += pair
        wrong, total = times @ sums[..., 0].T, times @ sums[..., 1].T
        of_seeds = wrong / np.maximum(total, 1)  # [SAMPLES, seeds]
        chosen = rng.integers(len(seeds), size=of_seeds.shape)
        rates.append(np.take_along_axis(of_seeds, chosen, 1).mean(1))
    return np.stack(rates, axis=1), count


def forecast(curve: Curve) -> Forecast:
    """Fit power laws to a curve and to its resampled rates."""
    return Forecast(
        fit_power_law(curve.hours, curve.means[None]),
        fit_power_law(curve.hours, curve.drawn),
    )
