"""Speech made by espeak-ng, and noise to mix into it: data with no download.

text -> Espeak.speak -> [S] at 16 kHz -> mix_noise -> [S]
     -> Espeak.phones -> its phones

S is the number of samples. espeak-ng comes as a shared library inside the
optional package ``espeakng-loader`` and is called through ctypes. It keeps its
state in C globals that no function of it resets (a voice's flutter runs on from
sentence to sentence), so every session loads the library afresh and unloads it
at its end: the same calls in a new session give the same bytes.
"""

from __future__ import annotations

import _ctypes
import ctypes
import math
import os

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import resample_poly

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.errors import UserError

_ESPEAK_RATE = 22050
NOISE_COLOURS = ("white", "pink", "brown")

_DIVISOR = math.gcd(SAMPLE_RATE, _ESPEAK_RATE)
_UP, _DOWN = SAMPLE_RATE // _DIVISOR, _ESPEAK_RATE // _DIVISOR
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback runs in our thread
_DONT_EXIT = 0x8000  # report a missing data folder, do not end the process
_UTF8 = 1
_IPA, _BETWEEN = 2, "_"  # phonememode: alphabet, separator of phones
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_SPEEDS = (80, 450)
_PITCHES = (0, 99)
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """A session with espeak-ng; use it as a context manager, one at a time.

    The speech of a session depends on its own calls only, in their order.

    Returns
    -------
    Espeak
        Raises UserError on entry when ``espeakng-loader`` is not installed or
        another session is open in this process.

    Example
    -------
    >>> import pytest
    >>> loader = pytest.importorskip("espeakng_loader")
    >>> with Espeak() as espeak:
    ...     wav = espeak.speak("no chest pain today", "en-us+f3", speed=160)
    >>> wav.dtype.name, 0.8 < len(wav) / 16000 < 2.5
    ('float32', True)
    """

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        # ctypes frees a callback nobody holds while C still points at it.
        self._callback = _CALLBACK(self._collect)
        self._library: ctypes.CDLL | None = None

    def __enter__(self) -> Espeak:
        library_path, data_path = _find_espeak()
        _refuse_second_session(library_path)
        self._library = ctypes.CDLL(library_path)
        rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, data_path.encode(), _DONT_EXIT
        )
        if rate != _ESPEAK_RATE:
            self.__exit__()
            raise UserError(
                f"{data_path}: espeak-ng starts at {rate} Hz where "
                f"{_ESPEAK_RATE} Hz is expected; reinstall espeakng-loader"
            )
        self._library.espeak_SetSynthCallback(self._callback)
        return self

    def __exit__(self, *exc_info: object) -> None:
        library, self._library = self._library, None
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)

    def speak(
        self, text: str, voice: str, speed: int = 175, pitch: int = 50
    ) -> np.ndarray:
        """Say one sentence.

        Arguments
        ---------
        text : str
            Words as they shall be read aloud.
        voice : str
            An espeak-ng language file with an optional variant after a plus
            sign: "en-us+f3", "en+m2" (British), "en-gb-scotland".
        speed : int
            Words per minute, 80 to 450.
        pitch : int
            0 (low) to 99 (high); 50 is the voice's own.

        Returns
        -------
        np.ndarray
            float32 [S] in [-1, 1], mono, 16 kHz. Raises UserError for an empty
            text, an unknown voice, and a speed or pitch outside its limits.
        """
        library = self._open_library()
        _check_request(text, speed, pitch)
        self._choose_voice(voice)
        library.espeak_SetParameter(_RATE, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        # Breath and frication draw from a generator that starts at the clock.
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks.clear()
        message = text.encode() + b"\0"
        library.espeak_Synth(message, len(message), 0, 1, 0, _UTF8, None, None)
        return _to_16k(self._chunks, text)

    def phones(self, text: str, voice: str) -> list[str]:
        """Pronounce a text without saying it.

        Arguments
        ---------
        text : str
            One or more words.
        voice : str
            As for ``speak``.

        Returns
        -------
        list of str
            Phones in the International Phonetic Alphabet, with their marks of
            stress and length. Raises UserError for an unknown voice.
        """
        library = self._open_library()
        self._choose_voice(voice)
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        found: list[str] = []
        while rest.value:  # a clause at a time
            said = library.espeak_TextToPhonemes(
                ctypes.byref(rest), _UTF8, _IPA | ord(_BETWEEN) << 8
            )
            found += said.decode().replace(" ", _BETWEEN).split(_BETWEEN)
        return [phone for phone in found if phone]

    def _choose_voice(self, voice: str) -> None:
        if self._open_library().espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(
                f"espeak-ng has no voice {voice!r}; name a language file and "
                "a variant, for example en-us+f3"
            )

    def _open_library(self) -> ctypes.CDLL:
        if self._library is None:
            raise RuntimeError("use Espeak in a with block")
        return self._library

    def _collect(self, samples, count: int, events) -> int:
        """Keep the samples of espeak-ng; 0 tells it to go on."""
        if samples and count > 0:
            block = np.ctypeslib.as_array(samples, (count,))
            self._chunks.append(block.copy())
        return 0


def coloured_noise(
    samples: int, colour: str, rng: np.random.Generator
) -> np.ndarray:
    """Draw stationary noise of one colour.

    Arguments
    ---------
    samples : int
        Length S, at least 2.
    colour : str
        "white" (flat spectrum), "pink" (power falls with 1/f) or "brown"
        (power falls with 1/f^2).
    rng : np.random.Generator
        Where the randomness comes from.

    Returns
    -------
    np.ndarray
        float32 [S] with mean square 1. Raises UserError for another colour.

    Example
    -------
    >>> noise = coloured_noise(16000, "pink", np.random.default_rng(0))
    >>> noise.shape, round(float(np.mean(noise**2)), 3)
    ((16000,), 1.0)
    """
    if colour not in NOISE_COLOURS:
        raise UserError(
            f"noise colour {colour!r} is unknown; use one of "
            f"{', '.join(NOISE_COLOURS)}"
        )
    length = next_fast_len(samples, real=True)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    exponent = NOISE_COLOURS.index(colour) / 2
    frequency = np.arange(len(spectrum), dtype=np.float64)
    frequency[0] = 1.0
    spectrum *= frequency**-exponent
    spectrum[0] = 0.0
    noise = np.fft.irfft(spectrum, length)[:samples]
    return _unit_power(noise).astype(np.float32)


def babble_noise(
    speech: list[np.ndarray], samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Let several talkers speak at once.

    Arguments
    ---------
    speech : list of np.ndarray
        One or more utterances for each talker, [S_i] at 16 kHz; each is looped
        from a random place and all are added at equal power.
    samples : int
        Length S of the result.
    rng : np.random.Generator
        Where the randomness comes from.

    Returns
    -------
    np.ndarray
        float32 [S] with mean square 1.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> talkers = [rng.standard_normal(500 + i) for i in range(3)]
    >>> babble_noise(talkers, 1200, rng).shape
    (1200,)
    """
    total = np.zeros(samples)
    for talker in speech:
        start = int(rng.integers(len(talker)))
        turns = np.resize(np.roll(talker, -start), samples)
        total += _unit_power(turns)
    return _unit_power(total).astype(np.float32)


def mix_noise(
    speech: np.ndarray, noise: np.ndarray, snr_db: float
) -> np.ndarray:
    """Add noise at a signal-to-noise ratio.

    Arguments
    ---------
    speech : np.ndarray
        [S], not silent.
    noise : np.ndarray
        [S], not silent.
    snr_db : float
        Ratio of the two powers over the whole utterance, in decibels.

    Returns
    -------
    np.ndarray
        float32 [S].

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> speech, noise = rng.standard_normal((2, 4000))
    >>> mixed = mix_noise(speech, noise, 10.0)
    >>> round(float(np.mean((mixed - speech) ** 2) / np.mean(speech**2)), 3)
    0.1
    """
    level = np.sqrt(np.mean(np.square(speech, dtype=np.float64)))
    gain = level * 10 ** (-snr_db / 20)
    return (speech + gain * _unit_power(noise)).astype(np.float32)


def _find_espeak() -> tuple[str, str]:
    """Paths of the shared library and of its data folder."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "espeak-ng (voices and phones) comes with espeakng-loader, which "
            "is not installed; run: pip install 'nar-asr-lobes[demo]'"
        ) from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _refuse_second_session(library_path: str) -> None:
    """A second load would share the first one's globals."""
    try:
        handle = ctypes.CDLL(library_path, mode=os.RTLD_NOLOAD)._handle
    except OSError:
        return
    _ctypes.dlclose(handle)
    raise UserError(
        f"{library_path}: espeak-ng is already open in this process; close "
        "the other session first"
    )


def _check_request(text: str, speed: int, pitch: int) -> None:
    if not text.strip():
        raise UserError("espeak-ng was given an empty text; give it words")
    limits = (("speed", speed, _SPEEDS), ("pitch", pitch, _PITCHES))
    for name, value, (low, high) in limits:
        if not low <= value <= high:
            raise UserError(
                f"{name} {value} is out of range; use {low} to {high}"
            )


def _to_16k(chunks: list[np.ndarray], text: str) -> np.ndarray:
    """Join int16 blocks at 22.05 kHz to float32 samples at 16 kHz."""
    if not chunks:
        raise UserError(
            f"espeak-ng made no sound of a text of {len(text)} characters; "
            "give it words it can pronounce"
        )
    samples = np.concatenate(chunks).astype(np.float32) / 32768
    return resample_poly(samples, _UP, _DOWN).astype(np.float32)


def _unit_power(samples: np.ndarray) -> np.ndarray:
    samples = samples.astype(np.float64)
    return samples / np.sqrt(np.mean(samples**2))
