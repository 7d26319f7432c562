"""The YAML of a run, with the keys of the command line over it."""

from pathlib import Path

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.hparams import load_run, parse_arguments, read_yaml

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*/hparams/eval*.yaml")))
def test_an_evaluation_takes_another_language_model_and_weights(recipe):
    given = "data_folder: a\nlm: {ngram: b}\ndecoding: {beam: {beam_size: 9}}"
    values = read_yaml(recipe, given)
    assert values["lm"] == {"ngram": "b"}
    assert values["decoding"] == {"beam": {"beam_size": 9}}


LM = """\
task: lm
tokenizer: tokens
texts: [a.txt]
output_folder: out
optim:
   optimizer: !name:torch.optim.AdamW
"""
HEAD = "task: pretrain\ndata_folder: corpus\noutput_folder: out\n"
# YAML makes a date, numbers, a comment, a mapping, a truth, ... of these.
TEXTS = ("2024-11-29 007 1e3 0x1F 1_000 .5 true null [a] {b} *c !d").split() + [
    "runs/exp #7",
    "a: b",
    'it\'s "so"',
    "C:\\new",
    "- x",
    "% # &",
]


def load(path, *options):
    """The configuration of a file and a command line."""
    path, _, overrides = parse_arguments([str(path), *options])
    return load_run(path, overrides)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_the_command_line_are_taken_as_they_are(tmp_path, text):
    (tmp_path / "a.yaml").write_text(HEAD)
    (tmp_path / "lm.yaml").write_text(LM)
    config = load(tmp_path / "a.yaml", f"--output_folder={text}")
    assert config.output_folder == text
    config = load(tmp_path / "a.yaml", "--output_folder", text)
    assert config.output_folder == text
    if not text.startswith(("{", "!")):  # those may be a section
        config = load(tmp_path / "lm.yaml", f"--tokenizer={text}")
        assert config.tokenizer == text


def test_an_optional_text_can_be_left_empty(tmp_path):
    (tmp_path / "a.yaml").write_text(HEAD + "bundle: a\nhot_words: b\n")
    config = load(tmp_path / "a.yaml", "--bundle=null", "--hot_words=")
    assert config.bundle is config.hot_words is None
    with pytest.raises(UserError, match="'output_folder' is missing"):
        load(tmp_path / "a.yaml", "--output_folder=")


def test_texts_of_a_file_and_of_a_section_stay_as_written(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "task: evaluate\ndata_folder: 1e3\noutput_folder: 2024-11-29 # day\n"
        "bundle: 007\nmodes: [nar, 0.10]\n"
        "data:\n   train: 1_0\n   test: [2020-01-01, on, 0x10]\n"
        "lm: {ngram: 3.0}\n"
    )
    config = load(tmp_path / "a.yaml", "--data={dev: 08.50, max_seconds: 007}")
    assert (config.data_folder, config.bundle) == ("1e3", "007")
    assert config.output_folder == "2024-11-29"
    assert config.modes == ["nar", "0.10"]
    assert (config.data.train, config.data.dev) == ("1_0", "08.50")
    assert config.data.test == ["2020-01-01", "on", "0x10"]
    assert config.data.max_seconds == 7
    assert config.lm.ngram == "3.0"


def test_home_and_variables_are_put_into_paths_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("RUN", "r")
    (tmp_path / "a.yaml").write_text(
        HEAD + "init_from: ~/p\nlm: {neural: $RUN/n, texts: [~/t, a$]}\n"
        "data: {train: $RUN}\n"
    )
    config = load(tmp_path / "a.yaml", "--output_folder=~/x ${RUN}")
    assert (config.output_folder, config.lm.neural) == ("/h/x r", "r/n")
    assert config.lm.texts == ["/h/t", "a$"]
    assert config.data.train == "$RUN"
    (tmp_path / "lm.yaml").write_text(LM)
    options = "--texts=[~/a, $RUN/b]", "--tokenizer=~/t"
    config = load(tmp_path / "lm.yaml", *options)
    assert config.texts == ["/h/a", "r/b"]
    assert config.tokenizer == "/h/t"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$NO_SUCH/x", "a.yaml: bundle: .*x: the variable .NO_SUCH is not set"),
        ("${NO_SUCH}", "the variable .{NO_SUCH} is not set; set it or write"),
        ("~nobody-here/x", "there is no such user; write ./~nobody-here/x for"),
    ],
)
def test_what_cannot_be_put_in_is_told(tmp_path, path, message):
    (tmp_path / "a.yaml").write_text(HEAD)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.yaml", f"--bundle={path}")
