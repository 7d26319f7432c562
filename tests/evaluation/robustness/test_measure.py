"""Robustness: figures as jiwer's, and runs that are stopped and continued."""

import json
from dataclasses import replace

import jiwer
import numpy as np
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.robustness import conditions as module
from nar_asr_lobes.evaluation.robustness.conditions import choose_conditions
from nar_asr_lobes.evaluation.robustness.measure import measure_robustness

NAMES = ["white-0dB", "speed-0.8x", "silence", "white_alone"]
FACTS = {"bundle_sha256": "a", "mode": "beam5"}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "ALONE_SECONDS", 1)


class Ears:
    """Stands for a recogniser: its texts follow from the samples."""

    def __init__(self, clips, fail_at=None):
        self.clips, self.fail_at = clips, fail_at
        self.heard = 0

    def __call__(self, wavs):
        for wav in wavs:
            self.heard += 1
            if self.heard == self.fail_at:
                raise KeyboardInterrupt
            yield self.text(wav)

    def text(self, wav):
        known = {round(c.duration * 16000): c.text for c in self.clips}
        if not wav.any():
            return ""
        words = known.get(len(wav), "pain knee aspirin").split()
        faint = np.abs(wav[1700:1900]).max() < 0.01  # between two letters
        return " ".join(words if faint else [*words[:1], "noise", "noise"])


@pytest.fixture
def measure(tone_clips, tmp_path):
    def call(ears, names=NAMES, facts=FACTS, clips=tone_clips):
        chosen = choose_conditions(names)
        folder = tmp_path / "out"
        return measure_robustness(clips, "none", chosen, ears, folder, facts)

    return call


def test_figures_are_those_of_jiwer(measure, tone_clips, tmp_path):
    ears = Ears(tone_clips)
    found = measure(ears)
    assert list(found["conditions"]) == ["clean", "white-0dB", "speed-0.8x"]
    references = [clip.text for clip in tone_clips]
    for name, row in found["conditions"].items():
        path = tmp_path / "out" / "hypotheses" / f"{name}.jsonl"
        rows = map(json.loads, path.read_text().splitlines())
        texts = {row["id"]: row["text"] for row in rows}
        assert list(texts) == [clip.id for clip in tone_clips]
        words = jiwer.process_words(references, list(texts.values()))
        assert row["wer"] == pytest.approx(words.wer)
        assert row["cer"] == pytest.approx(
            jiwer.cer(references, list(texts.values()))
        )
        for kind in ("substitutions", "deletions", "insertions"):
            assert row[kind] == getattr(words, kind)
        low, high = row["wer_interval"]
        assert low <= row["wer"] <= high
    assert found["conditions"]["white-0dB"]["wer"] > 0.5
    assert found["resampled"] == "speaker"
    assert found["headline"] == "wer"
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == found


def test_rates_are_given_relative_to_clean(measure, tone_clips):
    ears = Ears(tone_clips)
    text = ears.text
    ears.text = lambda wav: f"{text(wav)} more"
    rows = measure(ears)["conditions"]
    clean, noisy = rows["clean"], rows["white-0dB"]
    assert clean["wer"] > 0 and clean["wer_to_clean"] == 1
    assert noisy["cer_to_clean"] == noisy["cer"] / clean["cer"] > 1


def test_words_made_up_in_an_hour(measure, tone_clips):
    found = measure(Ears(tone_clips))["without_speech"]
    assert found["silence"]["words"] == 0
    assert found["white_alone"] == {
        "seconds": 600,
        "words": 3,
        "characters": 16,
        "words_per_hour": 18,
    }


@pytest.mark.parametrize(("fail_at", "kept"), [(3, 0), (12, 8), (26, 25)])
def test_a_stopped_run_continues_with_what_is_missing(
    measure, tone_clips, tmp_path, fail_at, kept
):
    with pytest.raises(KeyboardInterrupt):
        measure(Ears(tone_clips, fail_at))
    done = sum(
        len(path.read_text().splitlines())
        for path in (tmp_path / "out").glob("hypotheses/*")
    )
    ears = Ears(tone_clips)
    found = measure(ears)
    assert (done, ears.heard) == (kept, 3 * 8 + 2 - kept)
    for path in (tmp_path / "out").rglob("*.json*"):
        path.unlink()
    assert measure(Ears(tone_clips)) == found
    again = Ears(tone_clips)
    assert measure(again) == found and again.heard == 0


def test_the_order_of_the_test_set_changes_nothing(
    measure, tone_clips, tmp_path
):
    found = measure(Ears(tone_clips))
    ears = Ears(tone_clips)
    assert measure(ears, clips=tone_clips[::-1]) == found
    assert ears.heard == 0


def test_results_of_something_else_are_not_continued(measure, tone_clips):
    measure(Ears(tone_clips), ["clean"])
    other = FACTS | {"mode": "nar"}
    with pytest.raises(UserError, match="holds results of another mode; give"):
        measure(Ears(tone_clips), ["clean"], other)
    with pytest.raises(UserError, match="another test_set_sha256 and utter"):
        measure(Ears(tone_clips), ["clean"], clips=tone_clips[:4])


def test_test_sets_that_cannot_be_scored(measure, tone_clips):
    twice = [*tone_clips, tone_clips[0]]
    with pytest.raises(UserError, match="have the same id; give each its own"):
        measure(Ears(tone_clips), clips=twice)
    empty = [replace(clip, text=" \u200b") for clip in tone_clips]
    with pytest.raises(UserError, match="no transcript of the test set has a"):
        measure(Ears(tone_clips), clips=empty)
