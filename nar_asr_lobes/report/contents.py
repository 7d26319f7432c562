"""The contents of a report, as the page's JSON holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nar_asr_lobes.dataio.manifest import Utterance


@dataclass
class Clip:
    """The audio of an utterance and its spectrogram.

    Arguments
    ---------
    audio : str
        The samples, compressed, as a data URI.
    spectrogram : str
        Levels of frames and bands, uint8 [T, B], in base64.
    bands : int
        B, from 0 to 8 kHz, equally wide.
    seconds : float
        Length of the audio.
    """

    audio: str
    spectrogram: str
    bands: int
    seconds: float


@dataclass
class Row:
    """An utterance of a test set.

    Arguments
    ---------
    id : str
        Its name.
    utterance : Utterance, optional
        Its audio, where that is known; stays out of the page.
    clip : Clip, optional
        Its audio, where that is asked for.
    """

    id: str
    utterance: Utterance | None = None
    clip: Clip | None = None


@dataclass
class System:
    """A system, or a mode of recognition, on a test set of N utterances.

    Arguments
    ---------
    name : str
        Of the mode or the file of hypotheses.
    figures : dict
        Of all utterances, as ``summarize`` gives them; "rtf" where known.
    groups : dict
        By column and value, as ``figures``.
    errors : dict
        As ``frequent_errors`` gives them.
    texts : list
        Alignment of each utterance, [N]: correct words in a string, errors as
        [reference, hypothesis]; empty where the texts are not known.
    counts : list of list of int
        Of each utterance the words (or characters) of the reference,
        substitutions, deletions and insertions, [N, 4].
    words : list
        Of each utterance [start, end, word] in seconds, or None, [N].
    """

    name: str
    figures: dict[str, Any]
    groups: dict[str, dict[str, dict]] = field(default_factory=dict)
    errors: dict[str, list] = field(default_factory=dict)
    texts: list[list[str | list[str]]] = field(default_factory=list)
    counts: list[list[int]] = field(default_factory=list)
    words: list[list | None] = field(default_factory=list)


@dataclass
class EvaluationSet:
    """A test set, and the systems that were tried on it.

    Arguments
    ---------
    name : str
        Of the split, or of the file of references.
    has_words : bool
        Whether WER is the measure, else CER; alignments are of words or of
        characters.
    notes : list of str
        Sentences on how the figures were made and what is missing.
    """

    name: str
    has_words: bool
    notes: list[str]
    rows: list[Row]
    systems: list[System]

    @property
    def best(self) -> int:
        """The system with the lowest error rate, the first of equal ones."""
        rate = "wer" if self.has_words else "cer"
        rates = [system.figures[rate] for system in self.systems]
        known = [rate for rate in rates if rate is not None]
        return rates.index(min(known)) if known else 0


@dataclass
class Curve:
    """A figure of a training at some steps, [step, value] each."""

    name: str
    train: list[list[float]] = field(default_factory=list)
    valid: list[list[float]] = field(default_factory=list)


@dataclass
class Report:
    """All of a report; ``source`` is the path that it was made from."""

    source: str
    version: str
    curves: list[Curve] = field(default_factory=list)
    sets: list[EvaluationSet] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
