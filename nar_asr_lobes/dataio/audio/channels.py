"""Channels that speech passes through: telephone, narrow band, lossy codecs.

wav [S] at 16 kHz -> float32 [S], as late as before
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
import torch
from scipy.signal import butter, sosfilt
from torchaudio.functional import (
    mu_law_decoding,
    mu_law_encoding,
    resample,
)

from nar_asr_lobes.dataio.audio.distortions import within_full_scale
from nar_asr_lobes.dataio.audio.media import frame_samples
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.errors import UserError

_NARROW = 8000  # Hz
_TELEPHONE = (300, 3400)  # Hz
_MU_LAW_STEPS = 256


@dataclass(frozen=True)
class Codec:
    """A lossy codec, its container and its sample rate in Hz."""

    encoder: str
    container: str
    sample_rate: int


CODECS = {
    "opus": Codec("libopus", "ogg", SAMPLE_RATE),
    "mp3": Codec("libmp3lame", "mp3", SAMPLE_RATE),
    "amr": Codec("libopencore_amrnb", "amr", _NARROW),
}


def narrow_band(wav: np.ndarray) -> np.ndarray:
    """Sample wav [S] at 8 kHz, and again at 16 kHz."""
    narrow = _resampled(wav, SAMPLE_RATE, _NARROW)
    return _resampled(narrow, _NARROW)[: len(wav)]


def telephone(wav: np.ndarray) -> np.ndarray:
    """Send wav [S] through a telephone: 300 to 3400 Hz, 8 bits of mu-law."""
    band = butter(8, _TELEPHONE, "bandpass", output="sos", fs=_NARROW)
    narrow = sosfilt(band, _resampled(wav, SAMPLE_RATE, _NARROW))
    steps = mu_law_encoding(
        torch.from_numpy(within_full_scale(narrow)), _MU_LAW_STEPS
    )
    heard = mu_law_decoding(steps, _MU_LAW_STEPS).numpy()
    return _resampled(heard, _NARROW)[: len(wav)]


def code(wav: np.ndarray, name: str, kbps: float) -> np.ndarray:
    """Encode wav [S] with a codec of ``CODECS``, and decode it again.

    Arguments
    ---------
    wav : numpy.ndarray
        float32 [S], at 16 kHz.
    name : str
        The codec.
    kbps : float
        Bits a second, in thousands.

    Returns
    -------
    numpy.ndarray
        float32 [S].

    Raises
    ------
    UserError
        If this build of FFmpeg's libraries has no such encoder.

    Example
    -------
    >>> code(np.zeros(1000, np.float32), "opus", 6).shape
    (1000,)
    """
    codec = CODECS[name]
    narrow = _resampled(within_full_scale(wav), SAMPLE_RATE, codec.sample_rate)
    file = io.BytesIO()
    try:
        _encode(file, codec, narrow, round(1000 * kbps))
    except av.codec.codec.UnknownCodecError as error:
        raise UserError(
            f"the encoder {codec.encoder} is missing from this build of the "
            "package av; install av from PyPI, or leave the condition out"
        ) from error
    file.seek(0)
    with av.open(file) as container:
        frames = list(container.decode(audio=0))
    heard = np.concatenate([frame_samples(frame)[:, 0] for frame in frames])
    heard = _resampled(heard, frames[0].sample_rate)[: len(wav)]
    return np.pad(heard, (0, len(wav) - len(heard)))


def _encode(file: io.BytesIO, codec: Codec, wav: np.ndarray, rate: int) -> None:
    samples = np.round(wav * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts = codec.sample_rate, 0
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(
            codec.encoder, codec.sample_rate, layout="mono", bit_rate=rate
        )
        for part in (frame, None):
            container.mux(stream.encode(part))


def _resampled(
    wav: np.ndarray, before: int, after: int = SAMPLE_RATE
) -> np.ndarray:
    samples = torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32))
    return resample(samples, before, after).numpy()
