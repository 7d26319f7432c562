"""A run is not resumed with other data than it was started with."""

import json
import shutil

import pytest

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.training.metadata import hash_utterances
from tests.recipes.librispeech_tree import say
from tests.training.tiny_recipe import (
    TEXT,
    copy_of,
    edit_row,
    finished_runs,
    run_tiny,
)


@pytest.fixture
def started(tmp_path_factory, tmp_path):
    """A corpus of its own, with a fine-tuning that is complete in ``out``."""
    finished = finished_runs(tmp_path_factory.getbasetemp())
    shutil.copytree(finished / "finetune", tmp_path / "out")
    return copy_of(finished, tmp_path)


def add_a_row(data):
    with (data / "utterances.tsv").open("a") as table:
        seconds = say(data / "audio" / "new.flac", "ten net")
        table.write(f"new\taudio/new.flac\ts\ttrain\t{seconds}\tten net\n")


def lose_a_row(data):
    table = data / "utterances.tsv"
    rows = table.read_text().splitlines()
    kept = [row for row in rows if not row.startswith("train4\t")]
    table.write_text("\n".join(kept) + "\n")


def lose_a_file(data):
    (data / "audio" / "train4.flac").unlink()


def change_a_file(data):
    """It is as long as before, and its content another."""
    audio = data / "audio"
    size = (audio / "train4.flac").stat().st_size
    (audio / "train4.flac").write_bytes(
        (audio / "train4.flac").read_bytes() + b"\0" * size
    )


def exchange_a_row(data):
    add_a_row(data)
    lose_a_row(data)
    edit_row(data, "train1", TEXT, "net")
    edit_row(data, "train2", TEXT, "net")


def reorder(data):
    table = data / "utterances.tsv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]) + "\n")


def change_dev(data):
    edit_row(data, "dev1", TEXT, "net")


def keep_all(data):
    """The options change what is used."""


@pytest.mark.parametrize(
    ("change", "option", "told"),
    [
        (
            add_a_row,
            "",
            "'train' is not what this run was started with (1 added); b",
        ),
        (lose_a_file, "", "(1 removed)"),
        (change_a_file, "", "(1 changed)"),
        (exchange_a_row, "", "(1 added, 1 removed, 2 changed); bring the old"),
        (
            reorder,
            "",
            "'train' is not what this run was started with (in another",
        ),
        (
            change_dev,
            "",
            "'dev' is not what this run was started with (1 changed)",
        ),
        (keep_all, "--debug_utterances=8", "(2 removed)"),
        (keep_all, "--data={max_seconds: 1.9}", "(1 removed)"),
    ],
)
def test_other_data_are_refused(started, change, option, told):
    change(started / "data")
    outcome = run_tiny(started, "finetune", *[option] * bool(option))
    assert told in outcome.error


def test_the_same_data_in_another_place_are_the_same(started):
    (started / "data").rename(started / "moved")
    option = f"--data_folder={started / 'moved'}"
    outcome = run_tiny(started, "finetune", option)
    assert outcome.code == 0, outcome.err
    assert "resuming from" in outcome.out


def test_what_is_refused_leaves_the_old_hashes(started):
    lose_a_row(started / "data")
    for _ in range(2):
        error = run_tiny(started, "finetune").error
        assert "not what this run was started with (1 removed); bring" in error
    (started / "out" / "checked" / "train.hashes").unlink()
    error = run_tiny(started, "finetune").error
    assert "split 'train' is not what this run was started with; bring" in error


def test_a_run_without_a_checkpoint_takes_any_data(started):
    shutil.rmtree(started / "out" / "checkpoints")
    lose_a_row(started / "data")
    assert run_tiny(started, "finetune").code == 0
    metadata = started / "out" / "checkpoints" / "step_00000002"
    meta = json.loads((metadata / "checkpoint.json").read_text())
    assert set(meta["metadata"]["data"]) == {"train", "dev"}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--precision=bf16", "precision fp32; from here on it is bf16"),
        (
            "--optim={max_grad_norm: 3.0}",
            "max_grad_norm 1.0; from here on it is 3.0",
        ),
        (
            "--wave_augment=!new:nar_asr_lobes.dataio.augment.WaveAugment {}",
            "wave_augment None; from here on it is WaveAugment(speeds=",
        ),
    ],
)
def test_what_may_change_is_told(started, option, told):
    outcome = run_tiny(started, "finetune", option)
    assert outcome.code == 0, outcome.err
    assert f"step_00000002: was made with {told}" in outcome.out


def test_a_hash_is_of_all_that_counts_but_of_no_place(tmp_path):
    def hashed(name="u", folder="a", seconds=1.0, text="x", content=b"12"):
        path = tmp_path / folder / "u.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return hash_utterances([Utterance(name, str(path), seconds, text)])

    assert hashed() == hashed(folder="b")
    others = [{"seconds": 2.0}, {"text": "y"}, {"content": b"1"}, {"name": "v"}]
    found = {hashed().split()[0], *(hashed(**x).split()[0] for x in others)}
    assert len(found) == 5
