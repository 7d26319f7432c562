"""The conditions of the robustness table.

    utterance -> Clip: wav [S], generator, voices of others -> Condition -> [S']

Draws follow from the utterance's id and the condition's kind alone: they do not
depend on the order, the batch or the level, so that 20 dB and 0 dB have the
same noise. A new condition is a row in ``_KINDS``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nar_asr_lobes.dataio.audio.channels import code, narrow_band, telephone
from nar_asr_lobes.dataio.audio.distortions import (
    add_noise,
    babble,
    change_speed,
    clip_samples,
    draw_speakers,
    pink_noise,
    white_noise,
    within_full_scale,
)
from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.audio.rooms import reverberate, room_response
from nar_asr_lobes.dataio.audio.waveform import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.dataio.seeds import Stream, generator
from nar_asr_lobes.errors import UserError

SEED = 0
CLEAN = "clean"
ALONE_SECONDS = 600  # of silence and of each noise without speech
_ALONE_LEVEL = 0.05  # root mean square of that noise
_SNR_DB = (20, 10, 5, 0)
_ROOMS = {  # metres, by RT60 in seconds
    0.3: (5.0, 4.0, 2.7),
    0.6: (7.0, 6.0, 3.0),
    0.9: (10.0, 8.0, 3.5),
}
_PLACES = 8  # of mouth and microphone in each room


@dataclass(frozen=True)
class Clip:
    """The input of a distortion.

    Arguments
    ---------
    wav : numpy.ndarray
        float32 [S] at 16 kHz.
    rng : numpy.random.Generator
        Of its draws.
    voices : callable
        Generator -> utterances of other speakers, for babble.
    """

    wav: np.ndarray
    rng: np.random.Generator
    voices: Callable[[np.random.Generator], list[np.ndarray]] | None = None


@dataclass(frozen=True)
class _Kind:
    distort: Callable[[Clip, float], np.ndarray]
    unit: str = ""
    levels: tuple[float, ...] = (0,)
    has_speech: bool = True


def _noise(clip: Clip, snr_db: float, draw: Callable) -> np.ndarray:
    return add_noise(clip.wav, draw(clip.rng, len(clip.wav)), snr_db)


def _alone(clip: Clip, _: float, draw: Callable) -> np.ndarray:
    return _ALONE_LEVEL * draw(clip.rng, len(clip.wav))


def _babble(clip: Clip, snr_db: float) -> np.ndarray:
    noise = babble(clip.rng, clip.voices(clip.rng), len(clip.wav))
    return add_noise(clip.wav, noise, snr_db)


def _reverb(clip: Clip, seconds: float) -> np.ndarray:
    place = int(clip.rng.integers(_PLACES))
    return reverberate(clip.wav, room_response(_ROOMS[seconds], seconds, place))


def _codec(clip: Clip, kbps: float, name: str) -> np.ndarray:
    return code(clip.wav, name, kbps)


_KINDS = {
    CLEAN: _Kind(lambda clip, _: clip.wav),
    "white": _Kind(partial(_noise, draw=white_noise), "dB", _SNR_DB),
    "pink": _Kind(partial(_noise, draw=pink_noise), "dB", _SNR_DB),
    "babble": _Kind(_babble, "dB", _SNR_DB),
    "reverb": _Kind(_reverb, "s", tuple(_ROOMS)),
    "telephone": _Kind(lambda clip, _: telephone(clip.wav)),
    "8kHz": _Kind(lambda clip, _: narrow_band(clip.wav)),
    "clipping": _Kind(
        lambda clip, percent: clip_samples(clip.wav, percent / 100),
        *("%", (1, 10)),
    ),
    "speed": _Kind(
        lambda clip, speed: change_speed(clip.wav, speed),
        *("x", (0.8, 0.9, 1.1, 1.2)),
    ),
    "opus": _Kind(partial(_codec, name="opus"), "kbps", (6,)),
    "mp3": _Kind(partial(_codec, name="mp3"), "kbps", (16,)),
    "amr": _Kind(partial(_codec, name="amr"), "kbps", (4.75,)),
    "silence": _Kind(lambda clip, _: clip.wav, has_speech=False),
    "white_alone": _Kind(partial(_alone, draw=white_noise), has_speech=False),
    "pink_alone": _Kind(partial(_alone, draw=pink_noise), has_speech=False),
}


@dataclass(frozen=True)
class Condition:
    """One row of the table.

    Arguments
    ---------
    kind : str
        Its distortion.
    level : float
        How strong that is, in the unit of the kind.

    Example
    -------
    >>> condition = Condition("speed", 0.8)
    >>> condition.name, len(condition.distort(Clip(np.ones(8), None)))
    ('speed-0.8x', 10)
    """

    kind: str
    level: float = 0

    @property
    def name(self) -> str:
        """Its name in tables, files and options."""
        unit = _KINDS[self.kind].unit
        return f"{self.kind}-{self.level:g}{unit}" if unit else self.kind

    @property
    def has_speech(self) -> bool:
        """Whether it distorts the test set; else it is a recording by itself.

        Example
        -------
        >>> Condition("silence").has_speech
        False
        """
        return _KINDS[self.kind].has_speech

    def distort(self, clip: Clip) -> np.ndarray:
        """Give the distorted samples, float32 [S'], within full scale."""
        wav = _KINDS[self.kind].distort(clip, self.level)
        return within_full_scale(wav).astype(np.float32)

    def draws(self, name: str) -> np.random.Generator:
        """Make the generator for the utterance of this id."""
        digest = hashlib.sha256(f"{self.kind} {name}".encode()).digest()
        number = int.from_bytes(digest[:8], "big")
        return generator(SEED, Stream.DISTORTION, number)


CONDITIONS = [
    Condition(name, level)
    for name, kind in _KINDS.items()
    for level in kind.levels
]


def choose_conditions(names: Sequence[str]) -> list[Condition]:
    """Look up conditions by name or kind; clean is always among them.

    Arguments
    ---------
    names : sequence of str
        All where empty.

    Returns
    -------
    list of Condition
        In the order of the table.

    Raises
    ------
    UserError
        For an unknown name.

    Example
    -------
    >>> [c.name for c in choose_conditions(["telephone", "speed-0.8x"])]
    ['clean', 'telephone', 'speed-0.8x']
    """
    known = {*_KINDS} | {condition.name for condition in CONDITIONS}
    for name in names:
        if name not in known:
            raise UserError(
                f"condition {name!r} is unknown; choose from "
                f"{', '.join(_KINDS)}, or one level, such as white-5dB"
            )
    return [
        condition
        for condition in CONDITIONS
        if not names or {condition.kind, condition.name} & {CLEAN, *names}
    ]


class DistortedSet:
    """The utterances of a test set under any condition.

    Arguments
    ---------
    utterances : sequence of Utterance
        With usable audio and ids of their own. Babble is made of the others;
        where there is one speaker only, of that speaker's other utterances.

    Example
    -------
    >>> len(next(DistortedSet([]).audio(Condition("silence"))))
    9600000
    """

    def __init__(self, utterances: Sequence[Utterance]):
        self.utterances = utterances
        self._by_id = sorted(utterances, key=lambda row: row.id)
        self.speakers = {row.id: row.speaker or row.id for row in self._by_id}
        if len(set(self.speakers.values())) == 1:
            self.speakers = {name: name for name in self.speakers}

    def ids(self, condition: Condition) -> list[str]:
        """List the names of the recordings of a condition."""
        if not condition.has_speech:
            return [condition.name]
        return [row.id for row in self.utterances]

    def audio(self, condition: Condition) -> Iterator[np.ndarray]:
        """Make the recordings of a condition, one after the other."""
        if not condition.has_speech:
            wav = np.zeros(ALONE_SECONDS * SAMPLE_RATE, np.float32)
            yield condition.distort(Clip(wav, condition.draws(condition.name)))
            return
        for row in self.utterances:
            voices = partial(self._voices, row.id)
            clip = Clip(_read(row), condition.draws(row.id), voices)
            yield condition.distort(clip)

    def _voices(self, name: str, rng: np.random.Generator) -> list[np.ndarray]:
        speakers = list(self.speakers.values())
        chosen = draw_speakers(rng, speakers, self.speakers[name])
        if not chosen:
            raise UserError(
                "babble needs two utterances, and the test set has one; choose "
                "other conditions"
            )
        return [_read(self._by_id[index]) for index in chosen]


def _read(row: Utterance) -> np.ndarray:
    return read_audio(row.audio, **row.stretch)
