"""Inputs of a transcription: files, pipes and arrays, as streams of blocks."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch

from nar_asr_lobes.dataio.audio.media import Media
from nar_asr_lobes.dataio.audio.reading import AudioStream
from nar_asr_lobes.errors import UserError, audio_error

_STDIN = "-"
Array = np.ndarray | torch.Tensor
Source = str | os.PathLike | Array
"""A path, "-" for standard input, or samples [S] or [S, channels]."""


def source_name(source: Source) -> str:
    """Give the path, or "array"."""
    return "array" if isinstance(source, Array) else os.fspath(source)


@contextmanager
def open_source(
    source: Source, sample_rate: int | None, max_seconds: float
) -> Iterator[AudioStream]:
    """Open an input as mono blocks at 16 kHz; an array needs its rate.

    A pipe is copied to a temporary file, because audio is opened several
    times. AudioError if it cannot be used.
    """
    if isinstance(source, Array):
        if sample_rate is None:
            raise UserError(
                "the sample rate of the array is missing; give it in Hz, such "
                "as sample_rate=16000"
            )
        yield _ArrayStream(source, int(sample_rate), max_seconds)
        return
    with _on_disk(os.fspath(source)) as path:
        yield AudioStream(path, max_seconds)


class _ArrayStream(AudioStream):
    def __init__(self, samples: Array, sample_rate: int, max_seconds: float):
        super().__init__("array", max_seconds)
        self.samples = _as_float32(samples)
        self.sample_rate = sample_rate

    def _open(self) -> AbstractContextManager[Media]:
        frames, channels = self.samples.shape
        pieces = [(self.sample_rate, self.samples)] * bool(frames)
        return nullcontext(
            Media("array", self.sample_rate, channels, frames, iter(pieces))
        )


def _as_float32(samples: Array) -> np.ndarray:
    """Copy samples to float32 [S, channels], full scale 1."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        if samples.is_floating_point():
            samples = samples.float()  # numpy has no bfloat16
    values = np.asarray(samples)
    shape = list(values.shape)
    if len(shape) == 1:
        values = values[:, None]
    # [channels, S], as torchaudio has it, would be mixed to nearly nothing.
    if values.ndim != 2 or values.shape[1] > len(values) > 0:
        raise audio_error(
            "array",
            "is no audio of shape [samples] or [samples, channels]",
            "transpose or split it",
            f"shape {shape}",
        )
    if values.dtype.kind not in "fi":
        raise audio_error(
            "array",
            "holds neither floats nor signed integers",
            "convert it to floats from -1 to 1",
            str(values.dtype),
        )
    wav = np.array(values, np.float32, order="C")
    if values.dtype.kind == "i":
        wav /= 2.0 ** (8 * values.dtype.itemsize - 1)
    return wav


@contextmanager
def _on_disk(path: str) -> Iterator[str]:
    """Give the path of a file, or of a temporary copy of a pipe's bytes."""
    if path != _STDIN and not _is_pipe(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="nar-asr-") as copy:
        try:
            stdin = nullcontext(sys.stdin.buffer)
            with stdin if path == _STDIN else open(path, "rb") as pipe:
                shutil.copyfileobj(pipe, copy, 2**20)
            copy.flush()
        except OSError as error:
            raise audio_error(
                path,
                f"cannot be copied to {tempfile.gettempdir()}",
                "set TMPDIR to a folder with more space",
                error.strerror,
            ) from error
        yield copy.name


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
