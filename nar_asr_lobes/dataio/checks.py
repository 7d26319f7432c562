"""All rules an utterance must meet before it is trained on or scored.

    utterances -> check_utterances -> usable utterances + findings

Every fault is collected, none stops the check; the caller decides whether to
leave the utterances out or to stop, and shows `summarize(findings)`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from nar_asr_lobes.dataio.audio.reading import AudioStream, check_file
from nar_asr_lobes.dataio.audio.silence import (
    SHORTEST,
    ctc_frames_needed,
    target_fits,
)
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import AudioError

logger = logging.getLogger(__name__)

_MIN_SECONDS = 0.0
MAX_SECONDS = 60.0

_TOLERANCE = 0.1  # s between manifest and file, for rounding and codec delay
_SHOWN_IDS = 5


@dataclass(frozen=True)
class Finding:
    """One fault of one utterance.

    Arguments
    ---------
    id : str
        The utterance.
    where : str
        Its audio file, with details of this utterance in brackets.
    problem : str
        The fault, in the same words for all utterances with it.
    remedy : str
        The user's way out.

    Example
    -------
    >>> print(Finding("u1", "u1.wav (0.02 s)", "is too short", "leave it out"))
    u1: u1.wav (0.02 s) is too short; leave it out
    """

    id: str
    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.id}: {self.where} {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class _Rules:
    tokenizer: Tokenizer | None
    frames: Callable[[int], int] | None
    min_seconds: float
    max_seconds: float
    read: bool


def check_utterances(
    utterances: Iterable[Utterance],
    tokenizer: Tokenizer | None = None,
    frames: Callable[[int], int] | None = None,
    min_seconds: float = _MIN_SECONDS,
    max_seconds: float = MAX_SECONDS,
    read: bool = False,
) -> tuple[list[Utterance], list[Finding]]:
    """Sort utterances into usable ones and faults.

    Files that are used in spite of a fault are counted in a logged warning.

    Arguments
    ---------
    utterances : iterable of Utterance
        With resolved audio paths, as `read_manifest` returns them.
    tokenizer : Tokenizer, optional
        When given, every utterance needs a transcript it can encode.
    frames : callable, optional
        Samples at 16 kHz -> encoder frames; when given with a tokenizer,
        targets are found that CTC cannot align even with silence around the
        clip (see `target_fits`).
    min_seconds, max_seconds : float
        Limits of the duration.
    read : bool
        Decode every file and check its samples and its length; otherwise only
        look whether it is there and not empty.

    Returns
    -------
    usable : list of Utterance
        Those without a finding, in order.
    findings : list of Finding
        All faults, several for one utterance if need be.

    Example
    -------
    >>> usable, findings = check_utterances([Utterance("u1", "no.wav", 1.0)])
    >>> len(usable), str(findings[0])
    (0, 'u1: no.wav is missing; check the path')
    """
    rules = _Rules(tokenizer, frames, min_seconds, max_seconds, read)
    utterances, usable, findings = list(utterances), [], []
    # Decoding leaves Python's lock alone, so threads share the processors.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = list(pool.map(partial(_check_audio, rules=rules), utterances))
    warned = [finding for _, _, warnings in checked for finding in warnings]
    if warned:
        logger.warning("used all the same: %s", summarize(warned))
    for utterance, (samples, faults, _) in zip(
        utterances, checked, strict=True
    ):
        if tokenizer is not None:
            faults += _check_text(utterance, samples, rules)
        findings += faults
        if not faults:
            usable.append(utterance)
    return usable, findings


def summarize(findings: Sequence[Finding]) -> str:
    """Count findings by problem and name the first utterances of each.

    Arguments
    ---------
    findings : sequence of Finding
        From `check_utterances`.

    Returns
    -------
    str
        A line with the totals, then one line a problem, most frequent first.

    Example
    -------
    >>> print(summarize([Finding("u1", "a.wav", "is missing", "look for it")]))
    1 utterance has faults:
      1 x is missing (u1); look for it
    """
    if not findings:
        return "no faults found"
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.problem, []).append(finding)
    bad = len({finding.id for finding in findings})
    lines = [f"{bad} utterance{'s have' if bad > 1 else ' has'} faults:"]
    for problem, group in sorted(
        groups.items(), key=lambda item: (-len(item[1]), item[0])
    ):
        ids = ", ".join(finding.id for finding in group[:_SHOWN_IDS])
        dots = ", …" if len(group) > _SHOWN_IDS else ""
        lines.append(
            f"  {len(group)} x {problem} ({ids}{dots}); {group[0].remedy}"
        )
    return "\n".join(lines)


def _check_audio(
    utterance: Utterance, rules: _Rules
) -> tuple[int, list[Finding], list[Finding]]:
    """Return the number of samples, as far as known, faults and warnings."""
    known = math.isfinite(utterance.duration)
    samples = round(utterance.duration * SAMPLE_RATE) if known else 0
    faults = list(_check_duration(utterance, rules))
    warnings: list[AudioError] = []
    try:
        if rules.read:
            stream = AudioStream(utterance.audio, **utterance.stretch)
            samples = sum(len(block) for block in stream)
            warnings = stream.warnings
            faults += _check_length(utterance, samples / SAMPLE_RATE)
            faults += _check_silence(utterance, stream)
        else:
            check_file(utterance.audio)
    except AudioError as error:
        faults.append(_finding(utterance, error.problem, error.remedy))
    return (
        samples,
        faults,
        [_finding(utterance, w.problem, w.remedy) for w in warnings],
    )


def _check_duration(utterance: Utterance, rules: _Rules) -> Iterator[Finding]:
    seconds = utterance.duration
    detail = f"{seconds:.2f} s"
    if not seconds >= rules.min_seconds:
        yield _finding(
            utterance,
            f"is shorter than the limit of {rules.min_seconds:g} s",
            "leave it out or lower min_seconds",
            detail,
        )
    if not seconds <= rules.max_seconds:
        yield _finding(
            utterance,
            f"is longer than the limit of {rules.max_seconds:g} s",
            "cut it into shorter pieces or raise max_seconds",
            detail,
        )


def _check_length(utterance: Utterance, seconds: float) -> Iterator[Finding]:
    if not abs(seconds - utterance.duration) <= _TOLERANCE:
        yield _finding(
            utterance,
            "is not as long as its manifest says",
            "replace the file or prepare the data again",
            f"{seconds:.2f} s instead of {utterance.duration:.2f} s",
        )


def _check_silence(
    utterance: Utterance, stream: AudioStream
) -> Iterator[Finding]:
    if utterance.text and stream.is_constant:
        yield _finding(
            utterance,
            "has a transcript, but its samples are all equal (silence)",
            "replace the file or leave it out",
        )


def _check_text(
    utterance: Utterance, samples: int, rules: _Rules
) -> Iterator[Finding]:
    if not (utterance.text or "").strip():
        yield _finding(
            utterance,
            "has an empty transcript",
            "add the transcript or leave the utterance out",
        )
        return
    unknown = rules.tokenizer.unknown_characters(utterance.text)
    if unknown:
        yield _finding(
            utterance,
            "has characters outside the tokenizer in its transcript",
            "normalise the text or train the tokenizer on it",
            " ".join(f"U+{ord(c):04X}" for c in unknown[:10]),
        )
    elif rules.frames is not None:
        needed = ctc_frames_needed(rules.tokenizer.encode(utterance.text))
        frames = rules.frames(max(samples, SHORTEST))
        if not target_fits(needed, samples, frames):
            yield _finding(
                utterance,
                "has a target longer than CTC can align",
                "check that text and audio belong together, use longer"
                " tokens, or leave the utterance out",
                f"{needed} frames needed, {samples / SAMPLE_RATE:.2f} s there",
            )


def _finding(
    utterance: Utterance, problem: str, remedy: str, detail: str = ""
) -> Finding:
    where = f"{utterance.audio} ({detail})" if detail else utterance.audio
    return Finding(utterance.id, where, problem, remedy)
