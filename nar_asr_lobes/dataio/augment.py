"""Augmentation of waveforms on the fly: speed and noise.

Every draw comes from the seed of the utterance in this epoch, so the result
does not depend on workers, ranks or a resume. (SpecAugment works on features,
inside the model: see ``lobes/masking.py``.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nar_asr_lobes.dataio.audio.distortions import add_noise, change_speed
from nar_asr_lobes.dataio.seeds import Stream, generator
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.schema import require_number


def ramp(progress: float, start: float, full: float) -> float:
    """Grow evenly from 0 at ``start`` to 1 at ``full``.

    A short training that is augmented from its first step ends before it has
    learned its data.

    Example
    -------
    >>> [ramp(progress, 0.25, 0.75) for progress in (0.2, 0.5, 0.9)]
    [0.0, 0.5, 1.0]
    """
    if progress < start:
        return 0.0
    return 1.0 if progress >= full else (progress - start) / (full - start)


@dataclass(frozen=True)
class WaveAugment:
    """Speed perturbation and coloured noise.

    Arguments
    ---------
    speeds : list or tuple of float
        Speeds drawn with equal chance; 1.1 makes the audio 10 % shorter and
        higher (Ko et al., Interspeech 2015).
    noise_prob : float
        Probability that noise is added.
    snr_db : (float, float)
        Range of the signal-to-noise ratio, drawn evenly.
    start, full : float
        Shares of the run's steps: before ``start`` speed and noise stay as
        they are, then the probability of a change grows evenly, up to its
        whole at ``full``.

    Example
    -------
    >>> wav = np.ones(1000, dtype=np.float32)
    >>> len(WaveAugment(speeds=[1.25], noise_prob=1.0)(wav, seed=3))
    800
    """

    speeds: list[float] | tuple[float, ...] = (0.9, 1.0, 1.1)
    noise_prob: float = 0.3
    snr_db: tuple[float, float] = (5.0, 30.0)
    start: float = 0.0
    full: float = 0.0

    def __post_init__(self):
        if not isinstance(self.speeds, list | tuple) or not self.speeds:
            raise UserError(
                f"wave_augment: speeds is {self.speeds!r}; give a list such as "
                "[0.9, 1.0, 1.1]"
            )
        for speed in self.speeds:
            require_number("wave_augment: speeds", speed, 0.5, 2.0)
        for key in ("noise_prob", "start", "full"):
            require_number(f"wave_augment: {key}", getattr(self, key), 0.0, 1.0)
        pair = isinstance(self.snr_db, list | tuple) and len(self.snr_db) == 2
        for level in self.snr_db if pair else ():
            require_number("wave_augment: snr_db", level, -100.0, 200.0)
        if not pair or self.snr_db[0] > self.snr_db[1]:
            raise UserError(
                f"wave_augment: snr_db is {self.snr_db!r}; give a list of the "
                "lowest and the highest, in dB"
            )

    def __call__(
        self, wav: np.ndarray, seed: int, progress: float = 1.0
    ) -> np.ndarray:
        """Augment wav [S]; gives float32 [S'].

        ``progress`` is the share of the run's steps already made.
        """
        strength = ramp(progress, self.start, self.full)
        rng = generator(seed, Stream.WAVE_AUGMENT)
        speed = float(rng.choice(self.speeds))
        if strength == 1 or rng.random() < strength:
            wav = change_speed(wav, speed)
        if rng.random() < strength * self.noise_prob:
            wav = _add_noise(wav, rng.uniform(*self.snr_db), rng)
        return wav


def _add_noise(
    wav: np.ndarray, snr_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Add noise with a random spectral slope, from blue to brown."""
    # A slope in the frequency domain; the block is repeated in long audio,
    # since an FFT of the whole would cost more than it is worth.
    block = min(len(wav), 32768)
    count = block // 2 + 1
    # White noise has a spectrum of Gaussian noise, too.
    spectrum = rng.standard_normal(2 * count, np.float32).view(np.complex64)
    slope = np.float32(rng.uniform(-0.25, 1.0))
    spectrum *= np.exp(-slope * _log_frequencies(count))
    return add_noise(wav, np.fft.irfft(spectrum, block), snr_db)


@lru_cache(maxsize=4)
def _log_frequencies(count: int) -> np.ndarray:
    """Give the logarithms of 1 to ``count``; a block's are always the same."""
    return np.log(np.arange(1, count + 1, dtype=np.float32))
