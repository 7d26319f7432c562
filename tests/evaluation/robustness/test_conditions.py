"""Conditions: their names, and draws that follow from ids alone."""

from dataclasses import replace

import numpy as np
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.robustness import conditions as module
from nar_asr_lobes.evaluation.robustness.conditions import (
    CONDITIONS,
    Condition,
    DistortedSet,
    choose_conditions,
)

DRAWN = ("white", "pink", "babble")


def audio(utterances, condition):
    """Give the distorted audio by id."""
    made = DistortedSet(utterances)
    return dict(zip(made.ids(condition), made.audio(condition), strict=True))


def test_names():
    names = [condition.name for condition in CONDITIONS]
    assert len(set(names)) == len(names) == 30
    assert names[0] == "clean"
    for noise in DRAWN:
        for level in (20, 10, 5, 0):
            assert f"{noise}-{level}dB" in names
    for name in ("reverb-0.6s", "telephone", "8kHz", "clipping-10%"):
        assert name in names
    for name in ("speed-0.8x", "speed-1.2x", "opus-6kbps", "silence"):
        assert name in names


def test_conditions_are_chosen_by_kind_or_name():
    chosen = choose_conditions(["speed-1.1x", "white", "silence"])
    assert [c.name for c in chosen] == [
        *("clean", "white-20dB", "white-10dB", "white-5dB", "white-0dB"),
        *("speed-1.1x", "silence"),
    ]
    assert choose_conditions([]) == CONDITIONS
    with pytest.raises(UserError, match="'white-7dB' is unknown; choose from"):
        choose_conditions(["white-7dB"])


@pytest.mark.parametrize(
    "condition",
    [c for c in CONDITIONS if c.has_speech and c.level in (0, 0.3, 5, 10, 6)],
    ids=lambda condition: condition.name,
)
def test_audio_depends_on_the_utterance_alone(tone_clips, condition):
    """Neither on the order nor on the others, but for babble."""
    clips = tone_clips[:4]
    forward = audio(clips, condition)
    assert list(forward) == [clip.id for clip in clips]
    backward = audio(clips[::-1], condition)
    for clip in clips:
        wav = forward[clip.id]
        assert np.array_equal(wav, backward[clip.id])
        assert wav.dtype == np.float32 and np.abs(wav).max() <= 1
        assert len(wav) == round(clip.duration * 16000)
    if condition.kind != "babble":
        [alone] = audio(clips[2:3], condition).values()
        assert np.array_equal(alone, forward[clips[2].id])


@pytest.mark.parametrize("kind", DRAWN)
def test_levels_share_their_noise_and_utterances_do_not(tone_clips, kind):
    clips = tone_clips[:4]
    clean = audio(clips, Condition("clean"))
    loud, faint = (audio(clips, Condition(kind, db)) for db in (20, 40))
    noises = []
    for name, wav in clean.items():
        assert np.abs(loud[name]).max() < 1  # nothing is scaled
        ratio = np.linalg.norm(loud[name] - wav)
        ratio /= np.linalg.norm(faint[name] - wav)
        assert ratio == pytest.approx(10, rel=1e-3)
        assert loud[name] - wav == pytest.approx(
            10 * (faint[name] - wav), abs=1e-5
        )
        noises.append((loud[name] - wav)[:5000])
    assert abs(np.corrcoef(noises[0], noises[1])[0, 1]) < 0.5


def test_babble_is_of_other_speakers(tone_clips, monkeypatch):
    read = []
    monkeypatch.setattr(module, "_read", read.append)
    made = DistortedSet(tone_clips)
    for seed in range(20):
        made._voices(tone_clips[0].id, np.random.default_rng(seed))
    assert {clip.speaker for clip in read} == {"s1"}
    assert len(read) == 20 and len({clip.id for clip in read}) == 4


def test_one_speaker_babbles_with_other_utterances(tone_clips):
    clips = [replace(c, speaker="one") for c in tone_clips]
    made = DistortedSet(clips)
    assert len(made._voices(clips[0].id, np.random.default_rng(0))) == 4
    with pytest.raises(UserError, match="babble needs two utterances"):
        audio(clips[:1], Condition("babble", 0))


def test_recordings_without_speech(monkeypatch):
    monkeypatch.setattr(module, "ALONE_SECONDS", 2)
    found = {}
    for condition in CONDITIONS:
        if not condition.has_speech:
            found |= audio([], condition)
    assert list(found) == ["silence", "white_alone", "pink_alone"]
    assert all(len(wav) == 32000 for wav in found.values())
    assert not found["silence"].any()
    for name in ("white_alone", "pink_alone"):
        assert np.std(found[name]) == pytest.approx(0.05, rel=0.02)
