"""Long recordings with their running transcript to utterances with times.

audio -> posteriors of pieces, written to a temporary file -> best path
    sentences -> tokens ------------------------------------^     |
                         segments, each with times, score and fate
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.text.normalization import SPACE, normalize_text
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.decoding.encoded import BLANK
from nar_asr_lobes.decoding.segmentation import Placement, place_sentences
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.transcriber import Transcriber

MIN_SCORE = -2.0
# Near the length of the utterances that models are trained on; in pieces of 25
# s a model of Speechocean762, of 4 s, makes a quarter more character errors.
_PIECE_SECONDS = 6.0
# An edge moves into the first 200 ms that are 30 dB below the loudest 20 ms of
# a segment, or close to the noise: a start, which CTC finds well, by at most
# 0.6 s, an end by a second.
_QUIET, _ABOVE_NOISE = 30.0, 3.0  # dB
_QUIET_STEPS, _START_STEPS, _END_STEPS = 20, 60, 100  # of 10 ms
_MARGIN_STEPS = 5  # kept of the quiet


@dataclass(frozen=True)
class Segment:
    """A sentence of the transcript, and its place in the recording.

    Arguments
    ---------
    text : str
        As it stands in the transcript.
    start, end : float or None
        Seconds; None if no place was found.
    score : float or None
        See ``Placement``; None without a place.
    left_out : str
        Why it is no segment; empty for one that is.
    """

    text: str
    start: float | None = None
    end: float | None = None
    score: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Segmentation:
    """The result for a recording.

    Arguments
    ---------
    seconds : float
        Length of the recording.
    segments : list of Segment
        One for each sentence, in order.
    speech_outside : float
        Seconds in which the model hears speech outside all segments.
    unknown_characters : dict of str to int
        Characters that the model does not know, which were passed over.
    """

    seconds: float
    segments: list[Segment]
    speech_outside: float
    unknown_characters: dict[str, int]

    @property
    def kept(self) -> list[Segment]:
        """The segments that are not left out."""
        return [x for x in self.segments if not x.left_out]


def segment_recording(
    transcriber: Transcriber,
    path: str,
    sentences: Sequence[str],
    text_style: str = "none",
    min_score: float = MIN_SCORE,
) -> Segmentation:
    """Find each sentence of a transcript in a recording.

    Arguments
    ---------
    transcriber : Transcriber
        With the model.
    path : str
        The recording.
    sentences : sequence of str
        Its transcript, in order.
    text_style : str
        That of the model's bundle.
    min_score : float
        Segments of a lower score are left out.

    Returns
    -------
    Segmentation

    Raises
    ------
    UserError
        If the recording cannot be read, or no sentence has a character that
        the model knows.
    """
    tokenizer = transcriber.recognizer.tokenizer
    unknown: Counter[str] = Counter()
    tokens = [
        _tokens(normalize_text(text, text_style), tokenizer, unknown)
        for text in sentences
    ]
    rows = [i for i, row in enumerate(tokens) if row]
    if not rows:
        raise UserError(
            f"none of the {len(tokens)} sentences of the transcript has a "
            "character that the model knows; give a bundle of this language"
        )
    space = tokenizer.pieces.index(SPACE) if SPACE in tokenizer.pieces else None
    with tempfile.TemporaryFile(prefix="nar-asr-") as file:
        log_probs, times, loudness = _posteriors(transcriber, path, file)
        placements = {
            rows[found.sentence]: found
            for found in place_sentences(
                log_probs, [tokens[i] for i in rows], space
            )
        }
        segments = [
            _segment(text, row, placements.get(i), times, min_score)
            for i, (text, row) in enumerate(zip(sentences, tokens, strict=True))
        ]
        segments = _to_quiet(segments, loudness, times[0])
        spoken = _speech(log_probs, space)
    for segment in segments:
        if not segment.left_out:
            inside = np.searchsorted(times, [segment.start, segment.end])
            spoken[slice(*inside)] = False
    outside = float(np.diff(times)[spoken].sum())
    return Segmentation(float(times[-1]), segments, outside, dict(unknown))


def _tokens(
    text: str, tokenizer: Tokenizer, unknown: Counter[str]
) -> list[int]:
    """Encode a text without the characters that the model does not know."""
    found = tokenizer.unknown_characters(text)
    unknown.update({c: text.count(c) for c in found})
    for character in found:
        text = text.replace(character, "")
    return tokenizer.encode(text)


def _posteriors(
    transcriber: Transcriber, path: str, file: BinaryIO
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write log-probabilities to a file; times are those between frames."""
    frame_seconds = transcriber.recognizer.model.frame_seconds
    times, loudness = [], []
    for start, wav, log_probs in transcriber.posteriors(path, _PIECE_SECONDS):
        file.write(log_probs.astype(np.float16).tobytes())
        times.append(start + frame_seconds * np.arange(len(log_probs)))
        loudness.append(_loudness(wav))
        end = start + len(wav) / SAMPLE_RATE
    file.flush()
    bounds = np.concatenate([*times, [end]])
    shape = (len(bounds) - 1, log_probs.shape[1])
    log_probs = np.memmap(file, np.float16, "r", shape=shape)
    return log_probs, bounds, np.concatenate(loudness)


def _segment(
    text: str,
    tokens: Sequence[int],
    found: Placement | None,
    times: np.ndarray,
    min_score: float,
) -> Segment:
    if not tokens:
        return Segment(text, left_out="no known characters")
    if found is None:
        return Segment(text, left_out="not found")
    reason = "low score" if found.score < min_score else ""
    start, end = float(times[found.start]), float(times[found.end])
    return Segment(text, start, end, found.score, reason)


def _speech(log_probs: np.ndarray, space: int | None) -> np.ndarray:
    """Tell which frames [T] have a token other than a space as their best."""
    best = np.empty(len(log_probs), np.int64)
    for first in range(0, len(best), 10_000):  # not all in memory
        part = log_probs[first : first + 10_000]
        best[first : first + len(part)] = part.argmax(axis=1)
    return (best != BLANK) & (best != (BLANK if space is None else space))


def _to_quiet(
    segments: list[Segment], loudness: np.ndarray, start: float
) -> list[Segment]:
    """Move edges outwards to where it is quiet, not into a neighbour.

    A CTC model is done with the last vowel long before the speaker is.
    """
    steps = {
        i: [round(100 * (t - start)) for t in (segment.start, segment.end)]
        for i, segment in enumerate(segments)
        if segment.score is not None
    }
    result, free = list(segments), 0
    following = [begin for begin, _ in steps.values()][1:] + [len(loudness)]
    for (i, (begin, end)), limit in zip(steps.items(), following, strict=True):
        level = loudness[begin:end].max(initial=-np.inf) - _QUIET
        before = loudness[max(free, begin - _START_STEPS) : begin][::-1]
        behind = loudness[end : min(limit, end + _END_STEPS)]
        begin -= _steps_to_quiet(before, level)
        end += _steps_to_quiet(behind, level)
        result[i] = replace(
            segments[i],
            start=max(0.0, start + begin / 100),  # before it is added silence
            end=start + end / 100,
        )
        free = end
    return result


def _steps_to_quiet(loudness: np.ndarray, level: float) -> int:
    """Count the steps of 10 ms until it has been quiet for some."""
    # A noisy recording is never quieter than its noise.
    level = max(level, loudness.min(initial=np.inf) + _ABOVE_NOISE)
    quiet = 0
    for step, value in enumerate(loudness, 1):
        quiet = quiet + 1 if value < level else 0
        if quiet == _QUIET_STEPS:
            return step - _QUIET_STEPS + _MARGIN_STEPS
    return len(loudness)


def _loudness(wav: np.ndarray) -> np.ndarray:
    """Give the power of each 10 ms in dB, averaged over 20 ms."""
    size = SAMPLE_RATE // 100
    steps = wav[: len(wav) // size * size].reshape(-1, size)
    power = np.convolve((steps**2).mean(axis=1), [0.5, 0.5])[: len(steps)]
    return (10 * np.log10(power + 1e-12)).astype(np.float32)
