"""Preparing the data apart: the same files as in train.py, nothing twice."""

import os
import re
import signal
from pathlib import Path

import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.audio import jobs
from tests.faulty_corpus import CANARY, PLANTED, Corpus
from tests.recipes.running import TINY, nar_asr, run, yaml_of

RESULTS = ("manifests", "checked", "left_out.txt", "tokenizer.json")
RESULTS += ("data.json",)
LINES = 11  # faults of PLANTED that are of lines, which are refused


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sound clips, and one with each fault of an utterance."""
    found = Corpus(tmp_path_factory.mktemp("data") / "corpus")
    for table, _, make in PLANTED[LINES:]:
        found.add(table, make(found))
    found.write()
    return found.folder


@pytest.fixture
def prepare(corpus, tmp_path):
    """Return a function that prepares into tmp_path / "out"."""

    def call(*options, task="finetune", out="out", folder=corpus):
        return nar_asr(
            *("prepare", yaml_of("CustomManifest", task)),
            *(f"--data_folder={folder}", f"--output_folder={tmp_path / out}"),
            *("--data={max_seconds: 3}", TINY, *options),
        )

    return call


def results(folder: Path) -> dict[str, bytes]:
    """Read the files of a preparation, without the folder's own name."""
    files = [
        file
        for name in RESULTS
        for file in [folder / name, *(folder / name).glob("*")]
        if file.is_file()
    ]
    assert len(files) >= len(RESULTS)
    return {str(x.relative_to(folder)): x.read_bytes() for x in files}


def readings(outcome) -> tuple[int, int]:
    """The numbers of files that were read, and of those known from before."""
    assert outcome.code == 0, outcome.err
    [found] = re.findall(r"(\d+) readings, and (\d+) known", outcome.out)
    return tuple(map(int, found))


def test_processes_do_not_matter_and_train_py_finds_the_same(
    prepare, corpus, tmp_path
):
    first = prepare("--processes=1", out="one")
    second = prepare("--processes", "2", out="two")
    assert readings(first) == readings(second)
    wanted = results(tmp_path / "one")
    assert results(tmp_path / "two") == wanted
    options = f"--data_folder={corpus}", "--data={max_seconds: 3}", TINY
    options += "--steps=1", "--global_batch=2", "--lm=null"
    options += ("--modes=[ctc_greedy]",)
    for out, known in (("one", True), ("alone", False)):
        folder = f"--output_folder={tmp_path / out}"
        done = run("CustomManifest", "finetune", *options, folder)
        assert (readings(done)[1] > readings(done)[0]) == known
        assert results(tmp_path / out) == wanted
    assert len(wanted["left_out.txt"].splitlines()) > 10


def sound_corpus(folder: Path) -> Path:
    """Write sound clips alone."""
    found = Corpus(folder)
    found.write()
    return found.folder


def damage_unseen(folder: Path) -> None:
    """Overwrite all clips; their sizes and times stay."""
    for file in folder.glob("*.wav"):
        found = file.stat()
        file.write_bytes(b"\0" * found.st_size)
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_only_a_file_that_changed_is_read_again(prepare, tmp_path, task):
    folder = sound_corpus(tmp_path / "data")
    prepare("--processes=1", task=task, folder=folder)
    wanted = results(tmp_path / "out")
    damage_unseen(folder)
    again = prepare("--processes=1", task=task, folder=folder)
    assert readings(again)[0] == 0
    assert results(tmp_path / "out") == wanted
    (folder / f"{CANARY}ac.wav").touch()
    found = prepare("--processes=1", task=task, folder=folder)
    assert readings(found)[0] == 1
    left_out = (tmp_path / "out" / "left_out.txt").read_text()
    assert f"{CANARY}ac.wav cannot be read as audio" in left_out


@pytest.fixture
def _ctrl_c():
    """Have Ctrl-C in programs that are started in the background, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_keeps_what_was_read(prepare, tmp_path, monkeypatch):
    put, kept = jobs._Store.put, []

    def interrupted(store, *row):
        put(store, *row)
        kept.append(row)
        if len(kept) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    folder = sound_corpus(tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(jobs._Store, "put", interrupted)
        stopped = prepare("--processes=2", folder=folder)
    assert stopped.code == 130 and len(kept) == 5
    assert stopped.err == "stopped by SIGINT; the same command goes on\n"
    done, known = readings(prepare("--processes=2", folder=folder))
    whole = readings(prepare("--processes=2", folder=folder, out="whole"))
    assert (done, known) == (whole[0] - 5, whole[1] + 5)
    assert results(tmp_path / "out") == results(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes=0"], "--processes is 0; it must be a whole number"),
        (["--stepps=3"], "'stepps'; did you mean 'steps'"),
    ],
)
def test_mistakes_are_told_in_one_line(prepare, options, message):
    assert message in prepare(*options).error


def test_only_prepare_takes_keys_of_a_yaml():
    with pytest.raises(SystemExit):
        nar_asr("validate", "here", "--steps=3")


def test_a_yaml_that_is_not_there(tmp_path, capsys):
    assert main(["prepare", str(tmp_path / "no.yaml")]) == 2
    assert "no.yaml: no such file" in capsys.readouterr().err
