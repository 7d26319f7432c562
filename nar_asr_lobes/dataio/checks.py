"""All rules an utterance must meet before it is trained on or scored.

    utterances -> check_utterances -> usable utterances + findings
    utterances -> examine -> findings and measures of each, for `validation`

Every fault is collected, none stops the check; the caller decides whether to
leave the utterances out or to stop, and shows `summarize(findings)`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nar_asr_lobes.dataio.audio.jobs import Job, run_audio_jobs
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
_SHOWN_PLACES = 5


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
    detail : str
        Details of this utterance; no text, name or path.
    place : str, optional
        File and line that describe the utterance.

    Example
    -------
    >>> print(Finding("u1", "u1.wav (0.02 s)", "is too short", "leave it out"))
    u1: u1.wav (0.02 s) is too short; leave it out
    """

    id: str
    where: str
    problem: str
    remedy: str
    detail: str = ""
    place: str | None = None

    def __str__(self) -> str:
        return f"{self.id}: {self.where} {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Rules:
    """Limits that utterances are checked against; see ``check_utterances``.

    Example
    -------
    >>> Rules(max_seconds=20.0).read
    False
    """

    tokenizer: Tokenizer | None = None
    frames: Callable[[int], int] | None = None
    min_seconds: float = _MIN_SECONDS
    max_seconds: float = MAX_SECONDS
    read: bool = False


@dataclass
class Examined:
    """An utterance with its faults and the measures of its audio.

    Arguments
    ---------
    utterance : Utterance
        With a duration.
    faults, warnings : list of Finding
        Faults keep it from being used, warnings do not.
    samples : int
        At 16 kHz, as far as known.
    sample_rate : int
        Of the file, in Hz; 0 where it was not read to its end, as below.
    level : float
        Root mean square around the mean, in dB of full scale.
    clipped : float
        Share of the samples that lie in a row at full scale.
    digest : str
        Hash of the samples at 16 kHz; empty for digital silence.

    Example
    -------
    >>> Examined(Utterance("u1", "u1.wav", 1.0)).faults
    []
    """

    utterance: Utterance
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    samples: int = 0
    sample_rate: int = 0
    level: float = math.nan
    clipped: float = 0.0
    digest: str = ""


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
    rules = Rules(tokenizer, frames, min_seconds, max_seconds, read)
    examined = examine(utterances, rules)
    warned = [finding for row in examined for finding in row.warnings]
    if warned:
        logger.warning("used all the same: %s", summarize(warned))
    usable = [row.utterance for row in examined if not row.faults]
    return usable, [finding for row in examined for finding in row.faults]


def check_lengths(
    utterances: Iterable[Utterance], min_seconds: float, max_seconds: float
) -> tuple[list[Utterance], list[Finding]]:
    """Sort utterances by their durations alone; see ``check_utterances``.

    Example
    -------
    >>> rows = [Utterance("u1", "a.wav", 1.0), Utterance("u2", "b.wav", 9.0)]
    >>> usable, findings = check_lengths(rows, 0.0, 5.0)
    >>> usable[0].id, findings[0].id
    ('u1', 'u2')
    """
    rules = Rules(min_seconds=min_seconds, max_seconds=max_seconds)
    usable, findings = [], []
    for row in utterances:
        found = list(_check_duration(row, rules))
        findings += found
        if not found:
            usable.append(row)
    return usable, findings


def examine(
    utterances: Iterable[Utterance], rules: Rules, measure: bool = False
) -> list[Examined]:
    """Check utterances; on a terminal, a bar shows the progress.

    Arguments
    ---------
    utterances : iterable of Utterance
        With resolved audio paths.
    rules : Rules
        What to check.
    measure : bool
        Whether level and digest are wanted, of files that are read.

    Returns
    -------
    list of Examined
        In order.

    Example
    -------
    >>> (row,) = examine([Utterance("u1", "no.wav", 1.0)], Rules())
    >>> row.faults[0].problem
    'is missing'
    """
    rows = [(x, _audio_job(x, rules.read, measure)) for x in utterances]
    work = _measure if rules.read else check_file
    found = run_audio_jobs(work, (job for _, job in rows), "checking")
    examined = [_judge(row, found[job], rules) for row, job in rows]
    if rules.tokenizer is not None:
        for row in examined:
            row.faults += _check_text(row.utterance, row.samples, rules)
    return examined


def summarize(findings: Sequence[Finding]) -> str:
    """Count findings by problem and name the first places of each.

    Ids and names of audio files may be names of persons: it shows none.

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
    >>> finding = Finding("u1", "a.wav", "is missing", "look", place="a.tsv:2")
    >>> print(summarize([finding]))
    1 utterance has faults:
      1 x is missing (a.tsv:2); look
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
        places = [finding.place for finding in group if finding.place]
        shown = format_places(places, _SHOWN_PLACES)
        lines.append(f"  {len(group)} x {problem}{shown}; {group[0].remedy}")
    return "\n".join(lines)


def format_places(places: Sequence[str], most: int) -> str:
    """Name the first of some places in brackets, each file once.

    Arguments
    ---------
    places : sequence of str
        Each a file and a line.
    most : int
        How many to name.

    Returns
    -------
    str
        Empty where there are none.

    Example
    -------
    >>> format_places(["a.tsv:2", "a.tsv:9", "b.tsv:2", "b.tsv:3"], most=3)
    ' (a.tsv:2, 9, b.tsv:2, …)'
    """
    shown, last = [], None
    for place in places[:most]:
        file, _, line = place.rpartition(":")
        shown.append(line.strip() if file == last else place)
        last = file
    dots = ["…"] if len(places) > most else []
    return f" ({', '.join([*shown, *dots])})" if shown else ""


def _audio_job(utterance: Utterance, read: bool, measure: bool) -> Job:
    if not read:
        return (utterance.audio,)
    seconds = None if utterance.start is None else utterance.duration
    return utterance.audio, utterance.start or 0.0, seconds, measure


def _measure(
    path: str, start: float, seconds: float | None, full: bool
) -> dict:
    """Decode audio; give its measures, as fields of ``Examined``."""
    stream = AudioStream(path, start=start, seconds=seconds)
    samples, total, squares = 0, 0.0, 0.0
    digest = hashlib.blake2b(digest_size=16)
    for block in stream:
        samples += len(block)
        if full:
            digest.update(block.tobytes())
            wide = block.astype(np.float64)
            total, squares = total + wide.sum(), squares + wide @ wide
    found = {
        "samples": samples,
        "sample_rate": stream.sample_rate,
        "clipped": stream.clipped
        / (samples * stream.sample_rate / SAMPLE_RATE),
        "is_constant": stream.is_constant,
        "warnings": [(w.problem, w.remedy) for w in stream.warnings],
    }
    if full and not stream.is_constant:
        power = max(squares / samples - (total / samples) ** 2, 1e-20)
        found["level"] = 10 * math.log10(power)
        found["digest"] = digest.hexdigest()
    return found


def _judge(
    utterance: Utterance, found: dict | int | AudioError, rules: Rules
) -> Examined:
    """Check an utterance whose audio was looked for, or measured."""
    known = math.isfinite(utterance.duration)
    samples = round(utterance.duration * SAMPLE_RATE) if known else 0
    row = Examined(utterance, samples=samples)
    row.faults += _check_duration(utterance, rules)
    if isinstance(found, AudioError):
        row.faults.append(_finding(utterance, found.problem, found.remedy))
    elif rules.read:
        for name in ("samples", "sample_rate", "clipped"):
            setattr(row, name, found[name])
        row.level = found.get("level", math.nan)
        row.digest = found.get("digest", "")
        row.warnings = [_finding(utterance, *x) for x in found["warnings"]]
        row.faults += check_length(utterance, row.samples / SAMPLE_RATE)
        row.faults += _check_silence(utterance, found["is_constant"])
    return row


def _check_duration(utterance: Utterance, rules: Rules) -> Iterator[Finding]:
    seconds = utterance.duration
    if rules.min_seconds <= seconds <= rules.max_seconds:
        return
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


def check_length(utterance: Utterance, seconds: float) -> Iterator[Finding]:
    """Compare the seconds of the audio with those of the manifest.

    Example
    -------
    >>> list(check_length(Utterance("u1", "a.wav", 1.0), 1.05))
    []
    """
    if not abs(seconds - utterance.duration) <= _TOLERANCE:
        yield _finding(
            utterance,
            "is not as long as its manifest says",
            "replace the file or prepare the data again",
            f"{seconds:.2f} s instead of {utterance.duration:.2f} s",
        )


def _check_silence(
    utterance: Utterance, is_constant: bool
) -> Iterator[Finding]:
    if utterance.text and is_constant:
        yield _finding(
            utterance,
            "has a transcript, but its samples are all equal (silence)",
            "replace the file or leave it out",
        )


def _check_text(
    utterance: Utterance, samples: int, rules: Rules
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
    return Finding(
        utterance.id, where, problem, remedy, detail, utterance.where
    )
