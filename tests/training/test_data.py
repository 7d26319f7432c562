"""What a run trains on, and what its tokenizer and language model read."""

import pytest

from nar_asr_lobes.training.config import load_config
from nar_asr_lobes.training.data import (
    lm_texts,
    prepare_data,
    read_split,
    run_tokenizer,
    train_loader,
)
from tests.training.tiny_recipe import (
    SPLIT,
    TEXT,
    copy_of,
    edit_row,
    finished_runs,
    prepare,
)

BOTH = "data: {extra_train: [spoken]}\n"


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    """A small corpus with the YAMLs."""
    return copy_of(finished_runs(tmp_path_factory.getbasetemp()), tmp_path)


def config_of(folder):
    paths = f"data_folder: {folder / 'data'}\noutput_folder: {folder / 'out'}\n"
    (folder / "out").mkdir()
    return load_config(folder / "finetune.yaml", paths + BOTH)


def test_an_extra_split_is_trained_on_and_nothing_else(folder):
    for name in ("train8", "train9"):
        edit_row(folder / "data", name, SPLIT, "spoken")
    edit_row(folder / "data", "train9", TEXT, "ten z")
    config = config_of(folder)
    prepare_data(config, prepare)
    tokenizer = run_tokenizer(config)
    loader = train_loader(config, tokenizer)
    ids = [utterance.id for utterance in loader.dataset.utterances]
    # "z" is in no transcript of train: the tokenizer has not read the extra.
    assert ids == [f"train{number}" for number in range(9)]
    assert len(read_split(config, "train")) == 8
    train = [utterance.text for utterance in read_split(config, "train")]
    assert lm_texts(config) == train
    left_out = (folder / "out" / "left_out.txt").read_text()
    assert left_out.startswith("spoken: train9")
