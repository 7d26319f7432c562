"""Multi: several corpora as one, each read by the recipe of its name.

    {CORPUS: {folder, weight, options}} -> the splits of each -> joined splits

A weight is how often a corpus is passed through in one pass through the mix:
3 repeats each utterance three times, 0.1 takes a tenth of the utterances,
chosen by the hash of their ids, as for the replay of an old domain.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_number

logger = logging.getLogger(__name__)

_RECIPES = Path(__file__).resolve().parents[1]
_KEYS = {"recipe", "folder", "weight", "options"}
_MIXED = ("train", "pool")


def prepare(
    data_folder: str,
    corpora: Mapping[str, Mapping],
    temperature: float | None = None,
) -> dict[str, Iterable[Utterance]]:
    """List the utterances of every split.

    Arguments
    ---------
    data_folder : str
        Folder that the corpora's folders start from.
    corpora : mapping of str to mapping
        By name: ``folder``; ``recipe``, the name where not given;
        ``weight``, 1 where not given; ``options`` of its ``prepare``.
    temperature : float, optional
        Weights by size instead: the share of a corpus of h hours is
        proportional to h ** (1 / temperature). 1 takes each as it is, more
        repeats small ones; the largest is passed through once.

    Returns
    -------
    dict of str to iterable of Utterance
        "train" and "pool", mixed by the weights; "dev" and "test" of all; and
        every other split as CORPUS-SPLIT, such as LibriSpeech-test. The corpus
        is a group of each utterance.

    Raises
    ------
    UserError
        For an unknown recipe or key, weights and a temperature that cannot
        be, and as the recipes do.
    """
    if not isinstance(corpora, Mapping) or not corpora:
        raise UserError("corpora is empty; name some with their folders")
    if temperature is not None:
        require_number("temperature", temperature, 1)
    parts = {
        name: _read(Path(data_folder), name, corpus)
        for name, corpus in corpora.items()
    }
    weights = {
        name: None if temperature else corpus.get("weight", 1)
        for name, corpus in corpora.items()
    }
    splits: dict[str, Iterable[Utterance]] = {
        f"{name}-{split}": _named(name, rows)
        for name, part in parts.items()
        for split, rows in part.items()
        if split not in _MIXED
    }
    for split in (*_MIXED, "dev", "test"):
        of_split = {
            n: part[split] for n, part in parts.items() if split in part
        }
        if split in _MIXED:
            splits[split] = _mix(of_split, weights, temperature)
        elif of_split:
            splits[split] = _joined(of_split)
    return splits


def _read(folder: Path, name: str, corpus: Mapping) -> dict[str, Iterable]:
    unknown = sorted(set(corpus) - _KEYS)
    if unknown or "folder" not in corpus:
        fault = f"unknown key {unknown[0]!r}" if unknown else "no folder"
        raise UserError(
            f"corpora: {name} has {fault}; give folder, and maybe "
            "recipe, weight and options"
        )
    require_number(f"corpora: {name}: weight", corpus.get("weight", 1), above=0)
    prepare = _recipe(str(corpus.get("recipe", name)))
    place = str((folder / corpus["folder"]).absolute())
    options = corpus.get("options") or {}
    try:
        inspect.signature(prepare).bind(place, **options)
    except TypeError as error:
        raise UserError(
            f"corpora: {name}: options: {error}; its prepare takes "
            f"{inspect.signature(prepare)}"
        ) from error
    splits = prepare(place, **options)
    return {split: _Once(rows) for split, rows in splits.items()}


def _recipe(name: str) -> Callable:
    """Import the ``prepare`` of another recipe."""
    module = f"{name.lower()}_prepare"
    if name == "Multi" or not (_RECIPES / name / f"{module}.py").is_file():
        raise UserError(
            f"corpora: {name!r} is no recipe; choose one of recipes/"
        )
    if str(_RECIPES / name) not in sys.path:
        sys.path.append(str(_RECIPES / name))
    return importlib.import_module(module).prepare


class _Once:
    """Rows that are listed when first asked for, and kept."""

    def __init__(self, rows: Iterable[Utterance]):
        self.rows: Iterable[Utterance] = rows

    def __iter__(self) -> Iterator[Utterance]:
        self.rows = list(self.rows)
        return iter(self.rows)


def _named(name: str, rows: Iterable[Utterance]) -> Iterator[Utterance]:
    for row in rows:
        groups = {**(row.groups or {}), "corpus": name}
        yield replace(row, id=f"{name}-{row.id}", groups=groups)


def _joined(parts: Mapping[str, Iterable]) -> Iterator[Utterance]:
    for name, rows in parts.items():
        yield from _named(name, rows)


def _mix(
    parts: Mapping[str, Iterable],
    weights: Mapping[str, float | None],
    temperature: float | None,
) -> Iterator[Utterance]:
    hours = {
        name: sum(row.duration for row in rows) / 3600
        for name, rows in parts.items()
    }
    for name, rows in parts.items():
        if not hours[name]:
            continue
        weight = weights[name]
        if weight is None:
            weight = (max(hours.values()) / hours[name]) ** (
                1 - 1 / temperature
            )
        logger.info("%s: %.2f h, %.3g times", name, hours[name], weight)
        yield from _repeated(_named(name, rows), weight)


def _repeated(rows: Iterable[Utterance], weight: float) -> Iterator[Utterance]:
    """Give each row as often as the weight says; a rest by its hash."""
    whole, rest = divmod(weight, 1)
    for row in rows:
        digest = hashlib.sha256(row.id.encode()).digest()
        more = int.from_bytes(digest[:6], "big") / 2**48 < rest
        for number in range(int(whole) + more):
            yield row if not number else replace(row, id=f"{row.id}+{number}")
