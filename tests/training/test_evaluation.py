"""The task label: a bundle's texts of audio without transcripts."""

import pytest
import torch

from nar_asr_lobes.dataio.audio.reading import read_audio
from nar_asr_lobes.dataio.manifest import read_manifest
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.inference.bundle import load_bundle
from tests.recipes.librispeech_tree import corrupt, say
from tests.training.tiny_recipe import (
    DURATION,
    TEXT,
    copy_of,
    edit_row,
    finished_runs,
    run_tiny,
)

YAML = """\
task: label
data_folder: !PLACEHOLDER
output_folder: out
bundle: !PLACEHOLDER
modes: [beam5_lm]
data:
   train: train
   max_seconds: 5
decoding:
   beam5_lm: {token_bonus: 8.0}   # a model of two steps says nothing else
"""


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    """A corpus without transcripts in train, and a bundle."""
    finished = finished_runs(tmp_path_factory.getbasetemp())
    copy_of(finished, tmp_path)
    for number in range(10):
        edit_row(tmp_path / "data", f"train{number}", TEXT, "")
    (tmp_path / "label.yaml").write_text(YAML)
    (tmp_path / "bundle").symlink_to(finished / "finetune" / "bundle")
    return tmp_path


def label(folder, *options):
    bundle = f"--bundle={folder / 'bundle'}"
    return run_tiny(folder, "label", bundle, *options)


def test_labels_are_the_texts_of_each_utterance_by_itself(folder):
    """One by one and with no pipeline between, they are the same."""
    outcome = label(folder)
    assert outcome.code == 0, outcome.err
    rows = read_manifest(folder / "out" / "labels.jsonl")
    assert [row.id for row in rows] == [f"train{n}" for n in range(10)]
    bundle = load_bundle(folder / "bundle")
    options = bundle.options.updated({"beam5_lm": {"token_bonus": 8.0}})
    recognizer = Recognizer(bundle.model, bundle.tokenizer, options, bundle.lms)
    for row in rows:
        wav = torch.from_numpy(read_audio(row.audio))[None]
        found = recognizer.recognize(wav, torch.ones(1), ["beam5_lm"])
        assert found.modes["beam5_lm"].texts == [row.text]
    assert any(row.text for row in rows)


def test_unusable_audio_has_no_label_and_is_counted(folder):
    corrupt(folder / "data" / "audio" / "train3.flac", "empty")
    outcome = label(folder)
    assert outcome.code == 0, outcome.err
    rows = read_manifest(folder / "out" / "labels.jsonl")
    assert {row.id for row in rows} == {f"train{n}" for n in range(10)} - {
        "train3"
    }
    assert "train: train3: " in (folder / "out" / "left_out.txt").read_text()


def test_long_audio_is_cut_and_labelled(folder):
    """Recordings need not be utterances: labels have their start."""
    audio = folder / "data" / "audio" / "train3.flac"
    seconds = say(audio, "ten ant eat " * 8)
    edit_row(folder / "data", "train3", DURATION, f"{seconds:.4f}")
    assert seconds > 5
    outcome = label(folder)
    assert outcome.code == 0, outcome.err
    rows = read_manifest(folder / "out" / "labels.jsonl")
    cut = [row for row in rows if row.start is not None]
    assert len(cut) > 1 and all(row.audio == str(audio) for row in cut)
    assert sum(row.duration for row in cut) == pytest.approx(seconds, abs=0.1)
    assert max(row.duration for row in rows) <= 5


def test_nothing_recognised_is_no_label(folder):
    outcome = label(folder, "--decoding={beam5_lm: {token_bonus: -20.0}}")
    assert outcome.code == 0, outcome.err
    rows = read_manifest(folder / "out" / "labels.jsonl")
    empty = sum(row.text is None for row in rows)
    assert empty and f"{empty} without a word" in outcome.out


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--modes=[nar, beam5]", "modes: 2 are given; name the one whose"),
        ("--modes=null", "modes: 0 are given; name the one whose texts"),
        ("--modes=[beam7]", "beam7"),
        ("--data={train: pool}", "has no split 'pool'"),
        ("--bundle=null", "label: key 'bundle' is missing; give the folder"),
    ],
)
def test_mistakes_are_told(folder, option, said):
    assert said in label(folder, option).error
