"""Texts spoken into a folder, once."""

import numpy as np
import pytest

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.synthesis import corpus as spoken
from nar_asr_lobes.errors import UserError

TEXTS = ["no chest pain", "no fever", "he sleeps well"]
VOICES = ["en-us+f3", "en+m2"]


@pytest.fixture
def speak(tmp_path):
    """Speak into the folder of this test."""
    pytest.importorskip("espeakng_loader", reason="extra demo not installed")
    return lambda texts, **options: spoken.speak_texts(
        tmp_path, texts, VOICES, **options
    )


def test_every_text_is_spoken_in_turn(speak):
    rows = speak(TEXTS)
    assert [row.text for row in rows] == TEXTS
    assert [row.speaker for row in rows] == [*VOICES, VOICES[0]]
    for row in rows:
        wav = read_audio(row.audio)
        assert row.duration == pytest.approx(len(wav) / 16000, abs=1e-3)
        assert np.std(wav) > 0.01


def test_what_is_spoken_is_not_spoken_again(speak, monkeypatch):
    first = speak(TEXTS)
    monkeypatch.setattr(spoken, "Espeak", None)
    assert speak(TEXTS) == first


def test_a_data_set_of_the_user_is_not_written_over(speak, tmp_path):
    table = tmp_path / "utterances.tsv"
    table.write_text("id\n")
    with pytest.raises(UserError, match="that was not made here; name anothe"):
        speak(TEXTS)
    assert table.read_text() == "id\n"


def test_nothing_to_speak_and_nowhere_to_write(speak, tmp_path):
    with pytest.raises(UserError, match="there is no text to speak; give som"):
        speak([])
    (tmp_path / "audio").write_text("a file")
    with pytest.raises(UserError, match="cannot be written .* free on that"):
        speak(TEXTS)


@pytest.mark.parametrize("options", [{"seed": 2}, {"snr_db": (0.0, 1.0)}])
def test_a_folder_of_something_else_is_refused(speak, options):
    speak(TEXTS)
    with pytest.raises(UserError, match="made with other options; delete"):
        speak(TEXTS, **options)
    with pytest.raises(UserError, match="made with other options; delete"):
        speak(TEXTS[:2])
