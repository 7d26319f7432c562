"""Nothing of a corpus is in a log, an error or on the console.

A word stands in every transcript, file name, speaker and id, also of faulty
lines, from the preparation to the evaluation. Result files may hold it.
"""

from pathlib import Path

import pytest

from nar_asr_lobes.errors import UserError
from tests.faulty_corpus import CANARY, PLANTED, WARNINGS, Corpus
from tests.recipes.running import TINY, nar_asr, parser, run, yaml_of

# Files of an output folder that hold ids, texts or names of audio files.
RESULTS = ("manifests", "checked", "alignments", "left_out.txt")
RESULTS += ("audio.sqlite", "dev.posteriors.safetensors")
LINES = 11  # of PLANTED: faults of lines, which stop a run


def folder_of(tmp_path, faults=()):
    """Write a corpus with some faults; give it and their places."""
    corpus = Corpus(tmp_path / "corpus", sound=4)
    places = [corpus.add(table, make(corpus)) for table, _, make in faults]
    corpus.write()
    return corpus.folder, places


def commands(data: Path, output: Path):
    """Yield the outcome of each command of a whole run."""
    yaml = yaml_of("CustomManifest", "finetune")
    data = f"--data_folder={data}", "--data={max_seconds: 3}"
    train = (*data, TINY, "--steps=2", "--global_batch=4")
    outs = {
        task: f"--output_folder={output / task}"
        for task in ("pretrain", "finetune", "evaluate")
    }
    yield nar_asr("prepare", yaml, *train, outs["finetune"], "--processes=1")
    yield nar_asr("validate", yaml, *data, TINY)
    yield run("CustomManifest", "pretrain", *train, outs["pretrain"])
    yield run("CustomManifest", "finetune", *train, outs["finetune"])
    bundle = f"--bundle={output / 'finetune' / 'bundle'}"
    yield run("CustomManifest", "evaluate", *data[:1], outs["evaluate"], bundle)
    texts = output / "finetune" / "manifests" / "test.jsonl"
    yield nar_asr("evaluate", texts, texts)


def holds_canary(text: str | bytes) -> bool:
    found = text.encode() if isinstance(text, str) else text
    return CANARY.encode() in found.lower()


def test_no_log_or_console_line_tells_of_the_corpus(tmp_path, capfd, caplog):
    faults = PLANTED[LINES:]
    data, _ = folder_of(tmp_path, faults)
    codes = []
    for outcome in commands(data, tmp_path / "out"):
        codes.append(outcome.code)
        assert not holds_canary(outcome.out + outcome.err)
    assert codes == [0, 1, 0, 0, 0, 0]
    shown = capfd.readouterr()  # of libraries in C
    assert not holds_canary(shown.out + shown.err + caplog.text)
    files = [x for x in (tmp_path / "out").rglob("*") if x.is_file()]
    telling = {
        x.relative_to(tmp_path / "out").parts[1]
        for x in files
        if holds_canary(x.read_bytes()) or holds_canary(x.name)
    }
    assert telling <= set(RESULTS)
    assert {"manifests", "left_out.txt"} <= telling  # it can be found
    left_out = (tmp_path / "out" / "finetune" / "left_out.txt").read_text()
    kept = WARNINGS | {"is by a speaker of another split"}
    kept |= {"has an empty transcript"}  # joins the pool
    for _, problem, _ in faults:
        assert problem in left_out or problem in kept or "same" in problem


@pytest.mark.parametrize("fault", PLANTED[:LINES], ids=lambda x: x[1])
def test_a_faulty_line_is_told_by_its_number(tmp_path, fault):
    data, [place] = folder_of(tmp_path, [fault])
    with pytest.raises(UserError) as caught:
        list(parser("CustomManifest")(str(data)))
    assert f"{place}: {fault[1]}" in str(caught.value)
    assert not holds_canary(str(caught.value))


def unread(corpus):
    """Damage a clip that no check has read."""
    row = corpus.row(corpus.cut(keep=0.5), duration="1")
    corpus.lines["train.csv"][1] = row
    return "could not be read, more than data.max_damaged allows (0)"


def unsplit(corpus):
    """Say one id in two files of a split."""
    corpus.lines["train.csv"][1]["id"] = corpus.lines["train.csv"][2]["id"]
    return "train.csv:4: its id stands in line 3 too; correct or remove"


def unusable(corpus):
    """Have characters in all of dev that train lacks."""
    for line in corpus.lines["dev.jsonl"]:
        line["text"] += " é"
    return "no utterance of split 'dev' is usable; "


def unlabelled(corpus):
    """Have no text in train."""
    for line in corpus.lines["train.csv"]:
        line["text"] = ""
    return "has no split 'train'; the recipe gives "


@pytest.mark.parametrize("damage", [unread, unsplit, unusable, unlabelled])
def test_no_error_tells_of_the_corpus(tmp_path, damage):
    corpus = Corpus(tmp_path / "corpus", sound=4)
    message = damage(corpus)
    corpus.write()
    outcome = run(
        *("CustomManifest", "finetune", TINY, "--steps=2"),
        f"--data_folder={corpus.folder}",
        f"--output_folder={tmp_path / 'out'}",
        "--data={check_audio: False, max_damaged: 0}",
    )
    assert message in outcome.error
    assert not holds_canary(outcome.out + outcome.err)


def test_a_text_file_is_told_by_its_number(tmp_path):
    corpus = Corpus(tmp_path / "corpus", sound=2)
    for file in corpus.folder.glob("*.wav"):
        file.with_suffix(".txt").write_bytes(b"\xe9")
    with pytest.raises(UserError) as caught:
        list(parser("CustomManifest")(str(corpus.folder)))
    assert "audio 1:1: is not UTF-8" in str(caught.value)
    assert not holds_canary(str(caught.value))
