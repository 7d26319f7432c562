"""A user's mistakes, each told in one line, or counted and left out."""

import gc
import json
import re
import sys

import pytest

from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.recipes.librispeech_tree import corrupt, say
from tests.training.tiny_recipe import (
    DURATION,
    TEXT,
    YAMLS,
    copy_of,
    edit_row,
    finished_runs,
    make_corpus,
    run_tiny,
    write_yamls,
)


@pytest.fixture
def folder(tmp_path_factory, tmp_path, monkeypatch):
    """A folder with YAMLs and a corpus, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return copy_of(finished_runs(tmp_path_factory.getbasetemp()), tmp_path)


FAULTS = ("missing", "empty", "no samples", "unreadable", "truncated", "nan")
ADDED = {"short": "", "long": "ten " * 20, "drifted": "net", "cut": "net"}
LEFT_OUT = {
    "train: train0": "is missing; check the path",
    "train: train1": "is empty (0 bytes); leave it out",
    "train: train2": "holds no samples; leave it out",
    "train: train3": "cannot be read as audio; convert it (ffmpeg -i IN",
    "train: train4": "cannot be read as audio; convert it (ffmpeg -i IN",
    "train: train5": "not finite numbers (NaN or infinite); export it again",
    "train: train6": "has an empty transcript; add the transcript",
    "train: train7": "has a target longer than CTC can align; check that",
    "train: short": "(0.24 s) is shorter than the limit of 0.3 s; leave it",
    "train: long": "is longer than the limit of 5 s; cut it into shorter",
    "train: drifted": "is not as long as its manifest says; replace the file",
    "train: cut": "is cut short; copy it again",
    "dev: dev0": "(U+0078) has characters outside the tokenizer in its",
    "test: test0": "is missing; check the path",
    "test: test1": "has an empty transcript; add it",
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A fine-tuning over a corpus with every fault in it: folder, outcome."""
    folder = write_yamls(tmp_path_factory.mktemp("damaged"))
    data = make_corpus(folder / "data")
    for number, fault in enumerate(FAULTS):
        corrupt(data / "audio" / f"train{number}.flac", fault)
    edit_row(data, "train6", TEXT, "")
    edit_row(data, "train7", TEXT, "ten tan net " * 20)
    edit_row(data, "dev0", TEXT, "next")  # no other text has an x
    corrupt(data / "audio" / "test0.flac", "missing")
    edit_row(data, "test1", TEXT, "")
    with (data / "utterances.tsv").open("a") as table:
        for name, text in ADDED.items():
            audio = f"audio/{name}.{'wav' if name == 'cut' else 'flac'}"
            seconds = say(data / audio, text) + 2 * (name == "drifted")
            row = (name, audio, "s", "train", str(seconds), "n")
            table.write("\t".join(row) + "\n")
    corrupt(data / "audio" / "cut.wav", "truncated")
    return folder / "out", run_tiny(folder, "finetune")


@pytest.mark.parametrize("name", LEFT_OUT)
def test_left_out_by_name(damaged, name):
    lines = (damaged[0] / "left_out.txt").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}: ")]
    assert LEFT_OUT[name] in line


def test_the_run_goes_on_with_the_rest(damaged):
    out, outcome = damaged
    assert outcome.code == 0, outcome.err
    lines = (out / "left_out.txt").read_text().splitlines()
    assert len(lines) == len(LEFT_OUT)
    rows = (out / "checked" / "train.jsonl").read_text().splitlines()
    assert [json.loads(row)["id"] for row in rows[1:]] == ["train8", "train9"]
    assert CheckpointFolder(out / "checkpoints").newest().step == 2


def test_what_was_left_out_is_counted_in_the_log(damaged):
    log = (damaged[0] / "log.txt").read_text()
    assert "train: 12 utterances have faults:" in log
    assert re.search(r"1 x is missing \(\S+/train.jsonl:2\); ", log)
    assert "dev: 1 utterance has faults:" in log
    assert "1 x has characters outside the tokenizer in its" in log


def test_a_test_set_without_its_bad_files(damaged):
    out, _ = damaged
    results = json.loads((out / "results.json").read_text())
    assert results["test"]["ctc_greedy"]["utterances"] == 1
    log = (out / "log.txt").read_text()
    assert "left out of the test set: 2 utterances have faults:" in log
    lines = (out / "alignments" / "test" / "left_out.txt").read_text()
    first, second = lines.splitlines()
    assert first.startswith("test0: ") and "is missing" in first
    assert second.startswith("test1: ") and "has an empty transcript" in second


def test_why_no_utterance_is_usable_stands_in_a_file(folder):
    run_tiny(folder, "finetune", "--data={max_seconds: 0.3}")
    lines = (folder / "out" / "left_out.txt").read_text().splitlines()
    assert len(lines) == 10 and all("train: train" in line for line in lines)


# Task, an option, and what is said about it.
OPTIONS = [
    ("no", "", "no.yaml: no such file; name one of the recipe's YAMLs"),
    ("finetune", "--stepps=3", "'stepps'; did you mean 'steps'"),
    ("finetune", "--steps=0", "steps is 0; it must be a whole"),
    ("finetune", "--global_batch=0", "global_batch is 0; it must be a"),
    ("finetune", "--max_grad_norm=1", "--max_grad_norm: .* no effect here"),
    (
        "finetune",
        "--data_folder=nowhere",
        "nowhere/utterances.tsv: cannot be read .*; check the data",
    ),
    (
        "finetune",
        "--data={train: trian}",
        "data: has no split 'trian'; the recipe gives train, dev, test",
    ),
    (
        "finetune",
        "--data={options: {speakers: 3}}",
        "data.options: .*'speakers'; the recipe's prepare takes .data_folder",
    ),
    (
        "finetune",
        "--data={min_seconds: 4}",
        "no utterance of split 'train' is usable; .*left_out.txt says why",
    ),
    ("finetune", "--data={text_style: loud}", "data: text_style is 'loud'; ch"),
    ("finetune", "--tokenizer={kind: word}", "tokenizer: kind is 'word'; choo"),
    ("finetune", "--logging={keep_checkpoints: 1}", "logging: .* at least 2"),
    ("finetune", "--lm={order: 99}", "lm: order is 99; it must be at most 64"),
    ("evaluate", "--hot_boost=9", "hot_boost is 9; .* from 0 to 5"),
    ("finetune", "--data={test: []}", "data: test is empty; name a split"),
    (
        "finetune",
        "--tokenizer={kind: unigram, size: 999}",
        "unigram tokenizer of size 999 .* set the size to at most",
    ),
    ("finetune", "--init_from=no", "no: holds no whole checkpoint; run pre"),
    ("finetune", "--modes=[]", "modes: is empty; name one or set it to null"),
    (
        "finetune",
        "--decoding={nar_beam5_lm: {neural_weight: 0.3}}",
        "decoding.nar_beam5_lm: neural_weight is 0.3 but there is no lan",
    ),
    ("finetune", "--modes=[beam9]", "modes: unknown decoding mode 'beam9'"),
    (
        "finetune",
        "--lm={texts: [more.txt]}",
        "data/more.txt: cannot be read .*; lm.texts names it; give a text",
    ),
    ("finetune", "--lm={unit: word}", "lm: unit is 'word'; choose from pieces"),
    (
        "finetune",
        "--decoding={beam5: {beam_size: 0}}",
        "decoding.beam5: beam_size is 0; it must be a whole number",
    ),
    (
        "finetune",
        "--optim={optimizer: {betas: [2, 3]}}",
        "optim: optimizer: Invalid beta parameter .*: 2; correct it",
    ),
    (
        "finetune",
        "--optim={optimizer: {momentum: 1}}",
        "optim: optimizer: .*'momentum'; correct it",
    ),
    (
        "finetune",
        "--optim={scheduler: {warmup_ratio: 2}}",
        "optim: scheduler: warmup_ratio is 2; it must be a finite",
    ),
    ("finetune", "--wave_augment=5", "wave_augment: .* not callable; correct"),
    (
        "finetune",
        "--objective={smoothness: 1}",
        "objective: .*'smoothness'; correct its keys",
    ),
    (
        "finetune",
        "--objective={decoder_weight: 2}",
        "objective: decoder_weight is 2; it must be",
    ),
    ("finetune", "--objective=null", "section 'objective' is missing"),
    ("finetune", "--task=pretrain", "objective: pretrain needs !new:.*; see"),
    ("pretrain", "--task=finetune", "objective: finetune needs !name:.*; see"),
    ("pretrain", "--objective=best_rq", "objective: pretrain needs !new:.*; "),
    ("pretrain", "--objective={spec_augment: True}", "spec_augment is True; n"),
    ("finetune", "--objective={spec_augment: 2}", "spec_augment is 2; name a"),
    ("pretrain", "--objective={mask_prob: 35}", "mask_prob is 35; it must"),
    ("finetune", "--reinit_layers=-1", "reinit_layers is -1; it must be a"),
    (
        "finetune",
        "--reinit_layers=3",
        "reinit_layers is 3; it must be at most 2",
    ),
    ("pretrain", "--compile", "--compile is for a GPU; leave it out on a CPU"),
    ("finetune", "--init_from=out", "is both init_from and output_folder"),
    ("evaluate", "", "out/bundle: is not a bundle .*; name the folder"),
    ("evaluate", "--bundle=null", "key 'bundle' is missing; give the folder"),
]


@pytest.mark.parametrize(("task", "option", "message"), OPTIONS)
def test_a_wrong_option_is_told_in_one_line(folder, task, option, message):
    outcome = run_tiny(folder, task, *[option] * bool(option))
    assert re.search(message, outcome.error), outcome.error
    assert not (folder / "out" / "checkpoints").exists()


def test_a_mode_needs_its_language_model(folder):
    options = ["--modes=[nar, beam5_lm]", "--lm=null"]
    error = run_tiny(folder, "finetune", *options).error
    assert "beam5_lm needs a language model; add it to the section lm" in error


def test_words_need_a_tokenizer_that_ends_them(folder):
    for number in range(10):
        edit_row(folder / "data", f"train{number}", TEXT, "ten")
    for number in range(2):
        edit_row(folder / "data", f"dev{number}", TEXT, "net")
    outcome = run_tiny(folder, "finetune", "--lm={unit: words}")
    assert "a word n-gram needs a tokenizer whose" in outcome.error
    assert not (folder / "out" / "checkpoints").exists()


def test_a_text_that_is_not_utf8_is_told_before_the_training(folder):
    text = b"ten ants\n" * 9000 + b"caf\xe9\n"
    (folder / "data" / "more.txt").write_bytes(text)
    outcome = run_tiny(folder, "finetune", "--lm={texts: [more.txt]}")
    assert "more.txt:9001: is not UTF-8 text (byte 4 of" in outcome.error
    assert not (folder / "out" / "checkpoints").exists()


def repeat_a_row(folder):
    table = folder / "data" / "utterances.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")


def cut_a_row(folder):
    table = folder / "data" / "utterances.tsv"
    table.write_text(table.read_text().replace("\ttrain\t", "\t", 1))


def lose_the_sense_of_time(folder):
    edit_row(folder / "data", "dev1", DURATION, "long")


def turn_time_back(folder):
    edit_row(folder / "data", "dev1", DURATION, "-1")


def say_nothing(folder):
    for number in range(10):
        edit_row(folder / "data", f"train{number}", TEXT, "")


def put_a_file_in_the_way(folder):
    (folder / "out").write_text("a file")


def break_the_yaml(folder):
    (folder / "finetune.yaml").write_text("steps: [\n" + YAMLS["finetune"])


DAMAGES = [
    (repeat_a_row, "split 'train': .*tsv:18 has the id of .*tsv:2; give"),
    (cut_a_row, "utterances.tsv:2: 5 fields instead of 6; correct these"),
    (lose_the_sense_of_time, "tsv:13: the duration is not a number; correct"),
    (turn_time_back, "utterances.tsv:13: the duration -1.0 is not a finite"),
    (say_nothing, "there is no text to train a tokenizer on; check that"),
    (put_a_file_in_the_way, r"out: cannot be written \(File exists; .* free"),
    (break_the_yaml, r"finetune.yaml:\d+: is not YAML .*; correct this line"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_folder_is_told_in_one_line(folder, damage, message):
    damage(folder)
    outcome = run_tiny(folder, "finetune")
    assert re.search(message, outcome.error), outcome.error


@pytest.mark.parametrize(
    ("module", "option", "message"),
    [
        (
            "torch.utils.tensorboard",
            "--logging={tensorboard: True}",
            "logging: tensorboard is not installed; run `pip install tensor",
        ),
    ],
)
def test_a_missing_package_is_told_before_the_training(
    folder, monkeypatch, module, option, message
):
    monkeypatch.setitem(sys.modules, module, None)
    assert message in run_tiny(folder, "finetune", option).error


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_turns_out_bad_while_training_is_named(
    folder, monkeypatch, workers
):
    """Also when another process reads it, whose stack nobody asked for."""
    # So long does PyTorch wait for a worker that failed; 5 s otherwise.
    wait = "torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL"
    monkeypatch.setattr(wait, 0.2)
    for number in range(10):
        corrupt(folder / "data" / "audio" / f"train{number}.flac", "truncated")
    options = f"--data={{check_audio: False, workers: {workers}}}"
    error = run_tiny(folder, "finetune", options).error
    gc.collect()  # the worker ends with the loader
    assert re.search(r"error: \S+/train.jsonl:\d+: its audio cannot be", error)
