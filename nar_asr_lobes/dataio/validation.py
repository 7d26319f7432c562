"""A corpus as a whole: all its faults by line, and its splits' overlap.

    splits -> examine each utterance -> compare the splits -> Report

Entries name a file and a line. Texts, names of audio files and speakers stay
in the utterance that an entry points to; the caller decides who sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.checks import Examined, Finding, Rules, examine
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.normalization import (
    count_invisible,
    normalize_text,
)

_CLIPPED = 0.001  # share of the samples
_QUIET = -60.0  # dB of full scale
_QUANTILES = {"min": 0, "5 %": 5, "median": 50, "95 %": 95, "max": 100}
_EDGES = (0, 1, 2, 5, 10, 15, 20, 30, 60)  # s, of the histogram
_ACROSS = "as an utterance of another split"


@dataclass(frozen=True)
class Entry:
    """One fault or warning of a report.

    Arguments
    ---------
    place : str
        File and line; the number in its split where no line is known.
    problem, remedy : str
        As in a ``Finding``.
    detail : str
        Of this place; no text or name.
    split : str
        Empty for a line that is no utterance.
    is_fault : bool
        Whether the utterance cannot be trusted; else it is a warning.
    utterance : Utterance, optional
        The utterance.

    Example
    -------
    >>> print(Entry("a.tsv:2", "is missing", "check the path"))
    a.tsv:2: is missing; check the path
    """

    place: str
    problem: str
    remedy: str
    detail: str = ""
    split: str = ""
    is_fault: bool = True
    utterance: Utterance | None = None

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.place}: {self.problem}{detail}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """The state of a corpus.

    Arguments
    ---------
    entries : list of Entry
        Faults and warnings, by split, in the order of the lines.
    splits : dict
        Of each split: utterances, hours, speakers, durations, sample rates.
    overlap : list of dict
        Of each two splits: speakers, texts and audio that are in both.

    Example
    -------
    >>> Report([], {}, []).faults
    []
    """

    entries: list[Entry]
    splits: dict[str, dict]
    overlap: list[dict]

    @property
    def faults(self) -> list[Entry]:
        """The entries that are no warnings."""
        return [entry for entry in self.entries if entry.is_fault]


def validate_splits(
    splits: Mapping[str, Sequence[Utterance]],
    rules: Rules,
    text_style: str = "none",
    unlimited: Collection[str] = (),
) -> Report:
    """Read every file of a corpus and judge it.

    Arguments
    ---------
    splits : mapping of str to sequence of Utterance
        By split; "train" is compared first.
    rules : Rules
        Limits and, for labelled splits, tokenizer and frames.
    text_style : str
        See ``normalize_text``; texts are checked as they are trained on.
    unlimited : collection of str
        Splits of utterances of any length, as test sets are.

    Returns
    -------
    Report

    Example
    -------
    >>> rows = [Utterance("u1", "no.wav", 1.0, where="a.tsv:2")]
    >>> print(validate_splits({"train": rows}, Rules()).entries[0])
    a.tsv:2: is missing; check the path
    """
    order = sorted(splits, key=lambda name: name != "train")
    examined = {
        name: _examine(
            _with_places(name, splits[name]),
            rules,
            text_style,
            name in unlimited,
        )
        for name in order
    }
    entries = [
        _entry(name, finding, is_fault, row.utterance)
        for name, rows in examined.items()
        for row in rows
        for is_fault, finding in _findings(row)
    ]
    entries += _shared(
        examined,
        lambda row: row.speaker,
        "speaker",
        problem="is by a speaker of another split",
        remedy="give all utterances of a speaker to one split",
    )
    entries += _shared(
        examined,
        _text_key,
        "text",
        problem=f"has the same text {_ACROSS}",
        remedy="give each text to one split, unless texts repeat by design",
        is_fault=False,
    )
    entries += _repeated(examined)
    lines = {id(row.utterance): n for n, row in enumerate(_all(examined))}
    places = list(examined)
    entries.sort(key=lambda x: (places.index(x.split), lines[id(x.utterance)]))
    return Report(
        entries,
        {name: _summary(rows) for name, rows in examined.items()},
        _count_shared({name: _keys(rows) for name, rows in examined.items()}),
    )


def count_overlap(splits: Mapping[str, Sequence[Utterance]]) -> list[dict]:
    """Count the speakers and the texts that splits share.

    Arguments
    ---------
    splits : mapping of str to sequence of Utterance
        By split.

    Returns
    -------
    list of dict
        For each two "splits" the number of "speakers" and "texts" in both;
        texts without regard to case and punctuation.

    Example
    -------
    >>> a = [Utterance("u1", "1.wav", 1.0, "No pain.", speaker="anna")]
    >>> b = [Utterance("u2", "2.wav", 1.0, "no pain", speaker="ben")]
    >>> count_overlap({"train": a, "test": b})
    [{'splits': ['train', 'test'], 'speakers': 0, 'texts': 1}]
    """
    return _count_shared({name: _labels(rows) for name, rows in splits.items()})


def _count_shared(keys: Mapping[str, dict[str, set]]) -> list[dict]:
    return [
        {"splits": [a, b]}
        | {kind: len(some & keys[b][kind]) for kind, some in keys[a].items()}
        for a, b in combinations(keys, 2)
    ]


def _all(examined: Mapping[str, list[Examined]]) -> Iterator[Examined]:
    return (row for rows in examined.values() for row in rows)


def _with_places(split: str, rows: Sequence[Utterance]) -> list[Utterance]:
    """Number the utterances whose parser names no line."""
    return [
        replace(row, where=row.where or f"{split}: utterance {number}")
        for number, row in enumerate(rows, 1)
    ]


def _examine(
    rows: Sequence[Utterance], rules: Rules, style: str, is_unlimited: bool
) -> list[Examined]:
    labelled = any(row.text for row in rows)
    rules = replace(rules, read=True)
    if not labelled:  # cut at quiet places, where it is long
        rules = replace(rules, tokenizer=None)
    if is_unlimited or not labelled:
        rules = replace(rules, max_seconds=np.inf)
    found = examine(
        [
            replace(row, text=row.text and normalize_text(row.text, style))
            for row in rows
        ],
        rules,
        measure=True,
    )
    for row, source in zip(found, rows, strict=True):
        row.warnings += _warnings(row, source)
    return found


def _warnings(row: Examined, source: Utterance) -> Iterator[Finding]:
    def warn(problem: str, remedy: str, detail: str) -> Finding:
        return Finding(source.id, source.audio, problem, remedy, detail)

    hidden = count_invisible(source.text or "")
    if hidden:
        yield warn(
            "has invisible characters in its transcript",
            "they are removed before training",
            f"{hidden}",
        )
    if row.clipped > _CLIPPED:
        yield warn(
            "is clipped",
            "record it with less gain",
            f"{100 * row.clipped:.1f} % of the samples",
        )
    if row.level < _QUIET:
        yield warn(
            "is nearly silent",
            "check the recording",
            f"{row.level:.0f} dB of full scale",
        )
    if 0 < row.sample_rate < SAMPLE_RATE:
        yield warn(
            f"has a sample rate below {SAMPLE_RATE} Hz",
            "use the original recording if there is one",
            f"{row.sample_rate} Hz",
        )


def _findings(row: Examined) -> Iterator[tuple[bool, Finding]]:
    yield from ((True, finding) for finding in row.faults)
    yield from ((False, finding) for finding in row.warnings)


def _entry(
    split: str, finding: Finding, is_fault: bool, row: Utterance
) -> Entry:
    return Entry(
        row.where,
        finding.problem,
        finding.remedy,
        finding.detail,
        split,
        is_fault,
        row,
    )


def _text_key(row: Utterance) -> str:
    return normalize_text(row.text or "", "unicode").casefold()


def _labels(rows: Sequence[Utterance]) -> dict[str, set]:
    return {
        "speakers": {row.speaker for row in rows} - {None},
        "texts": {_text_key(row) for row in rows} - {""},
    }


def _keys(rows: Sequence[Examined]) -> dict[str, set]:
    audio = {row.digest for row in rows} - {""}
    return _labels([row.utterance for row in rows]) | {"audio": audio}


def _shared(
    examined: Mapping[str, list[Examined]],
    key: Callable[[Utterance], str | None],
    kind: str,
    **entry: str | bool,
) -> Iterator[Entry]:
    """Yield one entry for each key of a split that is in one before, too."""
    first_use: dict[str, tuple[str, str]] = {}
    for split, rows in examined.items():
        keys = [key(row.utterance) for row in rows]
        counts = Counter(keys)
        for row, name in zip(rows, keys, strict=True):
            if not name or not counts[name]:
                continue
            here = split, row.utterance.where
            other, place = first_use.setdefault(name, here)
            if other != split:
                detail = (
                    f"{counts[name]} of {split}; {other} has the same {kind}"
                    f" from {place} on"
                )
                yield Entry(
                    row.utterance.where,
                    detail=detail,
                    split=split,
                    utterance=row.utterance,
                    **entry,
                )
            counts[name] = 0  # one entry is enough


def _repeated(examined: Mapping[str, list[Examined]]) -> Iterator[Entry]:
    """Yield an entry for each recording that an earlier line has, too."""
    audio: dict[str, tuple[str, Examined]] = {}
    for split, rows in examined.items():
        for row in rows:
            if not row.digest:
                continue
            other, first = audio.setdefault(row.digest, (split, row))
            if first is not row:
                yield _same(row, split, first, other)


def _same(row: Examined, split: str, first: Examined, other: str) -> Entry:
    is_fault = True
    if other != split:
        problem = f"has the same audio {_ACROSS}"
    elif _text_key(row.utterance) != _text_key(first.utterance):
        problem = "has the same audio as another utterance, but another text"
    else:
        problem, is_fault = "has the same audio as another utterance", False
    return Entry(
        row.utterance.where,
        problem,
        "keep one of them",
        f"{first.utterance.where} of {other}",
        split,
        is_fault,
        row.utterance,
    )


def _summary(rows: Sequence[Examined]) -> dict:
    utterances = [row.utterance for row in rows]
    seconds = np.array([row.duration for row in utterances])
    rates = Counter(row.sample_rate for row in rows if row.sample_rate)
    found = {
        "utterances": len(rows),
        "hours": seconds.sum() / 3600,
        "speakers": len({row.speaker for row in utterances} - {None}),
        "without_text": sum(not row.text for row in utterances),
        "sample_rates": dict(sorted(rates.items())),
    }
    if len(rows):
        found["seconds"] = {
            name: float(np.percentile(seconds, share))
            for name, share in _QUANTILES.items()
        }
        counts, _ = np.histogram(seconds, (*_EDGES, np.inf))
        found["histogram"] = {
            f"from {edge} s": int(count)
            for edge, count in zip(_EDGES, counts, strict=True)
        }
    return found
