"""The error rates of a test set under distortions of its audio.

    utterances, condition -> distorted audio -> transcribe
        -> hypotheses/CONDITION.jsonl -> results.json

Conditions whose hypotheses are there are not recognised again, so a run that
was stopped continues. One recording at a time is read and distorted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.normalization import (
    mostly_without_words,
    normalize_text,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.robustness.conditions import (
    ALONE_SECONDS,
    CLEAN,
    SEED,
    Condition,
    DistortedSet,
)
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from nar_asr_lobes.storage import write_text

Transcribe = Callable[[Iterable[np.ndarray]], Iterable[str]]
"""Recordings, float32 [S] at 16 kHz each -> their texts, in order."""

_RUN = "run.json"
_PACKAGES = ("nar-asr-lobes", "torch", "torchaudio", "numpy", "scipy", "av")


def measure_robustness(
    utterances: Sequence[Utterance],
    text_style: str,
    conditions: Sequence[Condition],
    transcribe: Transcribe,
    folder: Path,
    facts: Mapping[str, str | int],
) -> dict:
    """Recognise a test set under each condition, and score it.

    Arguments
    ---------
    utterances : sequence of Utterance
        With usable audio and text, each with an id of its own.
    text_style : str
        Of the recogniser's texts; references are brought into it.
    conditions : sequence of Condition
        From ``choose_conditions``.
    transcribe : callable
        The recogniser.
    folder : Path
        Gets ``run.json``, ``hypotheses/`` and ``results.json``; may have those
        of a run of the same recogniser and test set that was stopped.
    facts : mapping of str to str or int
        Of the recogniser and the test set, for the results; results of other
        facts in the same folder are refused.

    Returns
    -------
    dict
        As in ``results.json``: "headline" ("cer" without spaces in the
        references, else "wer"), "resampled", under "conditions" for each the
        figures of ``summarize`` and "wer_to_clean" and "cer_to_clean", the
        rates divided by those of clean; under "without_speech" "seconds",
        "words", "characters" and "words_per_hour" of each.

    Raises
    ------
    UserError
        If the folder has results of something else or cannot be written, two
        utterances have one id, or no transcript has a word.
    """
    normalize = partial(normalize_text, style=text_style)
    _check(utterances, normalize)
    run = {
        **facts,
        "test_set_sha256": _digest(utterances),
        "utterances": len(utterances),
        "hours": math.fsum(u.duration for u in utterances) / 3600,
        "seed": SEED,
        "versions": {name: version(name) for name in _PACKAGES},
    }
    _begin(folder / _RUN, run)
    distorted = DistortedSet(utterances)
    texts = {
        condition: _recognize(
            condition,
            distorted,
            transcribe,
            folder / "hypotheses" / f"{condition.name}.jsonl",
        )
        for condition in tqdm(conditions, unit="condition", disable=None)
    }
    results = run | _score(utterances, normalize, texts)
    content = json.dumps(results, indent=1, ensure_ascii=False)
    write_text(folder / "results.json", content + "\n")
    return results


def _check(
    utterances: Sequence[Utterance], normalize: Callable[[str], str]
) -> None:
    if len({u.id for u in utterances}) < len(utterances):
        raise UserError(
            "some utterances of the test set have the same id; give each its "
            "own"
        )
    if not any(normalize(u.text or "") for u in utterances):
        raise UserError(
            "no transcript of the test set has a word in the text style of the "
            "bundle; give another test set"
        )


def _digest(utterances: Sequence[Utterance]) -> str:
    rows = sorted((u.id, u.text, u.start, u.duration) for u in utterances)
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _begin(path: Path, run: Mapping) -> None:
    """Note what is measured, or check that a stopped run measured the same."""
    if not path.exists():
        write_text(path, json.dumps(run, indent=1) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = [key for key in run if before.get(key) != run[key]]
    if other:
        raise UserError(
            f"{path.parent}: holds results of another {' and '.join(other)}; "
            "give another --output_folder, or remove it"
        )


def _recognize(
    condition: Condition,
    distorted: DistortedSet,
    transcribe: Transcribe,
    path: Path,
) -> list[str]:
    """Read the texts of a finished condition, or make and write them."""
    ids = distorted.ids(condition)
    if not path.exists():
        found = transcribe(distorted.audio(condition))
        rows = [
            json.dumps({"id": name, "text": text}, ensure_ascii=False)
            for name, text in zip(ids, found, strict=True)
        ]
        write_text(path, "".join(f"{row}\n" for row in rows))
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    return [texts[name] for name in ids]


def _score(
    utterances: Sequence[Utterance],
    normalize: Callable[[str], str],
    texts: Mapping[Condition, list[str]],
) -> dict:
    references = [u.text or "" for u in utterances]
    clusters = [u.speaker or u.id for u in utterances]
    by_speaker = 1 < len(set(clusters)) < len(clusters)
    rows, alone = {}, {}
    for condition, found in texts.items():
        if not condition.has_speech:
            alone[condition.name] = _made_up(normalize(found[0]))
            continue
        scores = score_texts(references, found, normalize)
        figures = summarize(scores, clusters if by_speaker else None)
        clean = rows.get(CLEAN, figures)
        for rate in ("wer", "cer"):
            ratio = figures[rate] / clean[rate] if clean[rate] else None
            figures[f"{rate}_to_clean"] = ratio
        rows[condition.name] = figures
    return {
        "headline": "cer" if mostly_without_words(references) else "wer",
        "resampled": "speaker" if by_speaker else "utterance",
        "conditions": rows,
        "without_speech": alone,
    }


def _made_up(text: str) -> dict[str, float]:
    words = len(text.split())
    return {
        "seconds": ALONE_SECONDS,
        "words": words,
        "characters": len(text),
        "words_per_hour": words * 3600 / ALONE_SECONDS,
    }
