"""Tone speech: each letter is a pair of tones, so a tiny model can read it.

text -> tone_speech -> [S] at 16 kHz, 0.12 s a letter

A letter sounds for 0.1 s and is followed by 0.02 s of near silence, so that a
double letter is two sounds; a space is 0.12 s of near silence.
"""

import string

import numpy as np

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE

TONE_TEXTS = (
    "no pain",
    "left knee",
    "mild cough",
    "stop aspirin",
    "two weeks",
    "fever at rest",
    "good sleep",
    "right hip",
)
LETTER_SECONDS = 0.12

_LOW = (320, 410, 520, 650, 800, 980)  # Hz; letter i: _LOW[i % 6]
_HIGH = (1300, 1650, 2050, 2550, 3150)  # Hz; letter i: _HIGH[i // 6]
_SOUND_SECONDS = 0.1
_FADE_SECONDS = 0.01


def tone_speech(text: str, seed: int = 0) -> np.ndarray:
    """Turn a text of the letters a to z and spaces into tones.

    Arguments
    ---------
    text : str
        What to say.
    seed : int
        Of the faint noise below the tones.

    Returns
    -------
    np.ndarray
        float32 [S] in [-1, 1]; the same call gives the same samples.

    Example
    -------
    >>> tone_speech("ab a").shape
    (7680,)
    """
    slot = round(LETTER_SECONDS * SAMPLE_RATE)
    samples = np.zeros(slot * len(text))
    for place, letter in enumerate(text):
        if letter != " ":
            sound = _letter(string.ascii_lowercase.index(letter))
            samples[place * slot :][: len(sound)] = sound
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return (samples + 1e-3 * noise).astype(np.float32)


def _letter(index: int) -> np.ndarray:
    time = np.arange(round(_SOUND_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    edge = np.minimum(time, time[::-1]) / _FADE_SECONDS
    pair = (_LOW[index % len(_LOW)], _HIGH[index // len(_LOW)])
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in pair)
    return 0.2 * tones * np.minimum(edge, 1.0)
