"""Splits of a corpus that comes without them: by speaker, never by chance.

    speakers by the SHA-256 of their names -> test, dev, then train

The choice is the same everywhere and needs no seed. Kept in a file, it stays
when speakers join: they go to train, so that a test set remains as it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nar_asr_lobes.dataio.manifest import Utterance, read_lines
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import write_text

logger = logging.getLogger(__name__)

SHARES = {"test": 0.1, "dev": 0.1}
"""Share of the hours that each split gets at least; the rest is train."""


def split_speakers(
    rows: Sequence[Utterance],
    shares: Mapping[str, float] = SHARES,
    store: str | os.PathLike | None = None,
) -> dict[str, list[Utterance]]:
    """Give each speaker's utterances to one split.

    Arguments
    ---------
    rows : sequence of Utterance
        With durations. One without a speaker is a speaker of its own.
    shares : mapping of str to float
        The splits besides "train" and their shares of the hours; each gets
        whole speakers until it has them.
    store : str or path, optional
        A JSON file of hashes of the speakers and their splits, which is
        written where it is missing, and completed. It names no one.

    Returns
    -------
    dict of str to list of Utterance
        "train" and those of ``shares``, each in the order of the rows.

    Raises
    ------
    UserError
        For fewer speakers than splits, and a damaged file.

    Example
    -------
    >>> rows = [Utterance(x, f"{x}.wav", 1.0, speaker=x) for x in "abcdef"]
    >>> splits = split_speakers(rows, {"dev": 0.2})
    >>> {name: [row.id for row in rows] for name, rows in splits.items()}
    {'train': ['a', 'b', 'c', 'e'], 'dev': ['d', 'f']}
    """
    names = [_hash(row.speaker or f"\0{row.id}") for row in rows]
    known = _read(store) if store else {}
    chosen = {**dict.fromkeys(names, "train"), **known}
    if not known:
        chosen |= _choose(names, rows, shares)
    if store and chosen != known:
        text = json.dumps(dict(sorted(chosen.items())), indent=1)
        write_text(Path(store), text + "\n")
    splits: dict[str, list[Utterance]] = {
        "train": [],
        **{x: [] for x in shares},
    }
    for name, row in zip(names, rows, strict=True):
        splits.setdefault(chosen[name], []).append(row)
    return splits


def _choose(
    names: Sequence[str],
    rows: Sequence[Utterance],
    shares: Mapping[str, float],
) -> dict[str, str]:
    seconds = dict.fromkeys(sorted(names), 0.0)
    for name, row in zip(names, rows, strict=True):
        seconds[name] += row.duration
    if len(seconds) <= len(shares):
        raise UserError(
            f"the corpus has {len(seconds)} speakers; train, "
            f"{' and '.join(shares)} need {len(shares) + 1}, or a column split"
        )
    total, free = sum(seconds.values()), list(seconds)
    chosen = {}
    for place, (split, share) in enumerate(shares.items()):
        left = len(shares) - place  # splits that need a speaker yet
        had = 0.0
        while len(free) > left and (not had or had < share * total):
            name = free.pop(0)
            had += seconds[name]
            chosen[name] = split
    return chosen


def complete_splits(
    corpus: Mapping[str, list[Utterance]],
    store: str | os.PathLike | None = None,
) -> dict[str, list[Utterance]]:
    """Give a corpus the splits train, dev, test and pool.

    Arguments
    ---------
    corpus : mapping of str to list of Utterance
        By split, "" for utterances that have none: these are split by
        speaker. A missing dev or test set is taken out of train. Where there
        are too few speakers for that, utterances are split, with a warning.
    store : str or path, optional
        See ``split_speakers``; with it, too few speakers are refused.

    Returns
    -------
    dict of str to list of Utterance
        The labelled utterances of each split, and "pool": the audio of train
        and of utterances without text, for pre-training; none is of a speaker
        of the other splits alone.

    Example
    -------
    >>> rows = [Utterance(x, f"{x}.wav", 1.0, "ah", x) for x in "abcdef"]
    >>> list(complete_splits({"": rows, "other": rows}))
    ['other', 'train', 'test', 'dev', 'pool']
    """
    labelled = {
        name: [row for row in rows if row.text] for name, rows in corpus.items()
    }
    labelled = {name: rows for name, rows in labelled.items() if rows}
    unlabelled = [
        row
        for name in ("", "train", "pool")
        for row in corpus.get(name, ())
        if not row.text
    ]
    rows = labelled.pop("", []) + labelled.pop("train", [])
    shares = {x: SHARES[x] for x in SHARES if not labelled.get(x)}
    splits = {**labelled, "train": rows}
    if rows and shares:
        splits = {**labelled, **_split(rows, shares, store)}
    elif not rows and unlabelled:
        held_out = _split(unlabelled, {"dev": SHARES["dev"]}, store)
        splits["dev"], unlabelled = held_out["dev"], held_out["train"]
    trained = {row.speaker for row in splits["train"]}
    held_out = {row.speaker for rows in splits.values() for row in rows}
    held_out -= {*trained, None}
    pool = [
        *splits["train"],
        *(row for row in unlabelled if row.speaker not in held_out),
    ]
    splits["pool"] = [replace(row, text=None) for row in pool]
    return {name: rows for name, rows in splits.items() if rows}


def take_share(rows: Sequence[Utterance], share: float) -> list[Utterance]:
    """Choose a share of the utterances by the hash of their ids.

    Arguments
    ---------
    rows : sequence of Utterance
        Of one split.
    share : float
        Above 0, at most 1; of their number, but at least one is chosen.

    Returns
    -------
    list of Utterance
        In the order of the rows. A smaller share is part of a larger one.

    Example
    -------
    >>> rows = [Utterance(x, f"{x}.wav", 1.0) for x in "abcdefgh"]
    >>> [row.id for row in take_share(rows, 0.25)]
    ['d', 'f']
    """
    count = max(round(share * len(rows)), 1)
    ranked = sorted(rows, key=lambda row: _hash(row.id))
    chosen = {row.id for row in ranked[:count]}
    return [row for row in rows if row.id in chosen]


def _split(
    rows: Sequence[Utterance],
    shares: Mapping[str, float],
    store: str | os.PathLike | None,
) -> dict[str, list[Utterance]]:
    speakers = {row.speaker for row in rows} - {None}
    if store or len(speakers) > len(shares):
        return split_speakers(rows, shares, store)
    logger.warning(
        "%s are chosen by utterance, for %d speakers are named: train has the"
        " same ones, and results look better than for new speakers",
        " and ".join(shares),
        len(speakers),
    )
    whole = {row.id: row for row in rows}
    apart = [replace(row, speaker=None) for row in rows]
    return {
        name: [whole[row.id] for row in some]
        for name, some in split_speakers(apart, shares).items()
    }


def _hash(speaker: str) -> str:
    return hashlib.sha256(speaker.encode()).hexdigest()[:16]


def _read(store: str | os.PathLike) -> dict[str, str]:
    if not Path(store).exists():
        return {}
    try:
        known = json.loads("\n".join(read_lines(store)))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{store}:{error.lineno}: is not valid JSON; restore the file, or "
            "remove it to split the corpus again"
        ) from error
    if not isinstance(known, dict):
        raise UserError(f"{store}: holds no splits; restore the file")
    return known
