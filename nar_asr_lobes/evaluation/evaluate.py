"""Recognise a test set in every mode and count the errors.

utterances -> batches of similar length -> Recognizer -> texts, in input order
           -> ErrorCounts, alignments, real-time factor of each mode
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nar_asr_lobes.dataio.audio.silence import silence_before
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.batching import Sample, validation_batches
from nar_asr_lobes.dataio.checks import Finding, check_utterances, summarize
from nar_asr_lobes.dataio.datasets import SpeechDataset
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.alignment import (
    Word,
    hypothesis_spans,
    word_times,
)
from nar_asr_lobes.decoding.recognizer import Recognition, Recognizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import (
    count_hot,
    oracle_texts,
    score,
    write_alignments,
)
from nar_asr_lobes.evaluation.report import ModeResult
from nar_asr_lobes.storage import write_text

logger = logging.getLogger(__name__)


@dataclass
class RecognizedMode:
    """Texts of one mode in input order, and the seconds it took.

    Where they are asked for, ``words`` has each text's words with their times,
    and ``nbest`` all hypotheses of each utterance.
    """

    texts: list[str]
    seconds: float = 0.0
    words: dict[int, list[Word]] = field(default_factory=dict)
    nbest: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class RecognizedSet:
    """The texts of a set of utterances, and their posteriors if kept."""

    modes: dict[str, RecognizedMode]
    audio_seconds: float
    log_probs: list[torch.Tensor]


def recognize_utterances(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    modes: Sequence[str] | None = None,
    max_batch_seconds: float = 120.0,
    device: torch.device | str = "cpu",
    keep_posteriors: bool = False,
    with_words: bool = False,
    keep_nbest: bool = False,
) -> RecognizedSet:
    """Recognise utterances in batches of similar length.

    Arguments
    ---------
    recognizer : Recognizer
        Its model lies on the device.
    utterances : sequence of Utterance
        With usable audio.
    modes : sequence of str, optional
        All that work where not given.
    max_batch_seconds : float
        Padded seconds of a batch; bounds the memory.
    device : torch.device or str
        Where the audio goes.
    keep_posteriors : bool
        Whether the CTC posteriors are returned, too.
    with_words : bool
        Whether the words with their times are returned, too.
    keep_nbest : bool
        Whether all hypotheses are.

    Returns
    -------
    RecognizedSet
        Texts in the order of the utterances.
    """
    dataset = SpeechDataset(utterances)
    found: dict[str, RecognizedMode] = {}
    heard: dict[int, torch.Tensor] = {}
    audio_seconds = 0.0
    indices = list(validation_batches(dataset.durations, max_batch_seconds))

    def inputs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        nonlocal audio_seconds
        for some in indices:
            batch = dataset.batch([Sample(i, i) for i in some]).to(device)
            audio_seconds += batch.seconds
            yield batch.wavs, batch.wav_lens

    recognized = recognizer.recognize_batches(inputs(), modes)
    for some, recognition in zip(indices, recognized, strict=True):
        _collect(found, recognition, some, len(utterances))
        if with_words:
            _collect_words(found, recognition, some, recognizer)
        if keep_nbest:
            _collect_nbest(found, recognition, some, recognizer.tokenizer)
        if keep_posteriors:
            heard.update(zip(some, recognition.log_probs, strict=True))
    log_probs = [heard[i] for i in sorted(heard)]
    return RecognizedSet(found, audio_seconds, log_probs)


def _collect(
    found: dict[str, RecognizedMode],
    recognition: Recognition,
    indices: list[int],
    total: int,
) -> None:
    for mode, result in recognition.modes.items():
        mine = found.setdefault(mode, RecognizedMode([""] * total))
        mine.seconds += recognition.encoder_seconds + result.seconds
        for index, text in zip(indices, result.texts, strict=True):
            mine.texts[index] = text


def _collect_words(
    found: dict[str, RecognizedMode],
    recognition: Recognition,
    indices: list[int],
    recognizer: Recognizer,
) -> None:
    frame_seconds = recognizer.model.frame_seconds
    for mode, result in recognition.modes.items():
        for index, best, log_probs in zip(
            indices, result.best, recognition.log_probs, strict=True
        ):
            spans = hypothesis_spans(log_probs, best)
            found[mode].words[index] = word_times(
                spans, recognizer.tokenizer, frame_seconds
            )


def _collect_nbest(
    found: dict[str, RecognizedMode],
    recognition: Recognition,
    indices: list[int],
    tokenizer: Tokenizer,
) -> None:
    for mode, result in recognition.modes.items():
        recognized = found[mode]
        if not recognized.nbest:
            recognized.nbest = [[] for _ in recognized.texts]
        for index, nbest in zip(indices, result.nbest, strict=True):
            recognized.nbest[index] = [
                tokenizer.decode(x.tokens) for x in nbest
            ]


def check_test_set(
    utterances: Sequence[Utterance], read: bool = True
) -> tuple[list[Utterance], list[Finding]]:
    """Sort a test set into utterances that can be scored and faults.

    Arguments
    ---------
    utterances : sequence of Utterance
        With transcripts.
    read : bool
        Decode every file; otherwise only look whether it is there.

    Returns
    -------
    tuple of list
        As for ``check_utterances``; no length is too short or too long.

    Example
    -------
    >>> usable, findings = check_test_set([Utterance("u1", "no.wav", 1.0)])
    >>> len(usable), str(findings[0])
    (0, 'u1: no.wav is missing; check the path')
    """
    usable, findings = check_utterances(
        utterances, min_seconds=0.0, max_seconds=float("inf"), read=read
    )
    findings += [
        Finding(
            u.id, u.audio, "has an empty transcript", "add it", place=u.where
        )
        for u in usable
        if not (u.text or "").split()
    ]
    return [u for u in usable if (u.text or "").split()], findings


def evaluate_split(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    folder: Path,
    modes: Sequence[str] | None = None,
    max_batch_seconds: float = 120.0,
    device: torch.device | str = "cpu",
    posteriors_file: Path | None = None,
) -> list[ModeResult]:
    """Evaluate one test set; write two files for each mode.

    Arguments
    ---------
    recognizer, modes, max_batch_seconds, device :
        As for ``recognize_utterances``.
    utterances : sequence of Utterance
        With transcripts. Those whose audio is unusable or whose transcript is
        empty are left out and counted in the results.
    folder : Path
        Gets ``MODE.txt`` with the alignment of every utterance,
        ``MODE.jsonl`` with the hypotheses and the times of their words, and
        ``left_out.txt`` with the fault of each that was left out.
    posteriors_file : Path, optional
        Gets the CTC posteriors of the utterances, see ``SavedPosteriors``.

    Returns
    -------
    list of ModeResult
        In the order of the modes.

    Raises
    ------
    UserError
        When no utterance is usable.
    """
    usable, findings = check_test_set(utterances)
    named = folder / "left_out.txt"
    write_text(named, "".join(f"{f}\n" for f in findings))
    if findings:
        logger.warning(
            "left out of the test set: %s\n%s names them",
            summarize(findings),
            named,
        )
    if not usable:
        raise UserError(
            f"{folder.name}: no utterance of the test set is usable; "
            f"{named} says why for each"
        )
    found = recognize_utterances(
        recognizer,
        usable,
        modes,
        max_batch_seconds,
        device,
        keep_posteriors=posteriors_file is not None,
        with_words=True,
        keep_nbest=True,
    )
    ids, references = [u.id for u in usable], [u.text or "" for u in usable]
    if posteriors_file is not None:
        heard = SavedPosteriors(
            ids=ids,
            references=references,
            log_probs=found.log_probs,
            tokenizer=recognizer.tokenizer.fingerprint,
            frame_seconds=recognizer.model.frame_seconds,
            audio_seconds=found.audio_seconds,
        )
        write_posteriors(posteriors_file, heard)
    results, listed = [], recognizer.hot_words
    left_out = len(utterances) - len(usable)
    for mode, recognized in found.modes.items():
        texts, seconds = recognized.texts, recognized.seconds
        counts = write_alignments(
            folder / f"{mode}.txt", ids, references, texts
        )
        _write_hypotheses(folder / f"{mode}.jsonl", usable, recognized)
        hot = listed and count_hot(references, texts, listed.phrases)
        oracle = None
        if any(len(nbest) > 1 for nbest in recognized.nbest):
            chosen = oracle_texts(references, recognized.nbest)
            oracle = score(ids, references, chosen)
        results.append(
            ModeResult(
                mode,
                counts,
                seconds,
                found.audio_seconds,
                hot,
                left_out,
                oracle,
            )
        )
    return results


def _write_hypotheses(
    path: Path, utterances: Sequence[Utterance], recognized: RecognizedMode
) -> None:
    """Write id, text, and [start, end, word] of each word, a line each."""
    lines = []
    for index, utterance in enumerate(utterances):
        words = [
            [*_times(word, utterance.duration), word.text]
            for word in recognized.words[index]
        ]
        text = recognized.texts[index]
        row = {"id": utterance.id, "text": text, "words": words}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _times(word: Word, seconds: float) -> list[float]:
    """Take the silence off that stands before a short utterance."""
    before = silence_before(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return [
        round(min(max(time - before, 0.0), seconds), 2)
        for time in (word.start, word.end)
    ]
