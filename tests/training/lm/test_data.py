"""Sentences held out, left out and batched for a neural language model."""

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import LmRunConfig, OptimConfig
from nar_asr_lobes.training.lm.data import (
    TextValidation,
    prepare_texts,
    text_dataset,
    text_loader,
)
from nar_asr_lobes.training.metadata import _read_digests
from nar_asr_lobes.training.optim.scheduler import WarmupCosine

LINES = [f"{a}{b}{c}" for a in "abcd" for b in "abcd" for c in " abc"]


@pytest.fixture
def make(tmp_path):
    """Return a function that prepares lines; it gives the configuration."""
    CharTokenizer(" abcd").save(tmp_path / "tokenizer.json")

    def prepare(lines, dev=(), **values):
        config = LmRunConfig(
            task="lm",
            tokenizer=str(tmp_path / "tokenizer.json"),
            texts=["any"],
            output_folder=str(tmp_path),
            optim=OptimConfig(torch.optim.AdamW, WarmupCosine),
            **values,
        )
        found = {"train": lines, "dev": dev} if dev else {"train": lines}
        prepare_texts(config, lambda texts, dev_texts: found)
        return config

    return prepare


def read(config, split):
    data = text_dataset(config, split)
    return [tuple(data.sentence(i).tolist()) for i in range(len(data))]


def test_equal_sentences_are_held_out_together(make):
    config = make(LINES * 3, dev_ratio=0.3)
    train, dev = read(config, "train"), read(config, "dev")
    assert len(train) + len(dev) == 3 * len(LINES)
    assert not set(train) & set(dev)
    assert 0.1 < len(dev) / len(LINES * 3) < 0.5
    shouted = [line.upper() for line in reversed(LINES)]
    again = make(shouted, dev_ratio=0.3, text_style="english")
    assert set(read(again, "dev")) == set(dev)


def test_dev_texts_are_taken_as_they_are(make):
    config = make(LINES, dev=["d d", "", "a"], dev_texts=["any"])
    assert read(config, "dev") == [(5, 1, 5), (2,)]
    assert len(read(config, "train")) == len(LINES)


def test_what_is_too_long_or_unknown_is_left_out(make, tmp_path):
    lines = ["ab", "abcda", "axb", "", "c"]
    config = make(lines, dev=["a"], dev_texts=["any"], max_tokens=4)
    assert read(config, "train") == [(2, 3), (4,)]
    assert (tmp_path / "left_out.txt").read_text() == (
        "train: 1 sentences with characters outside the tokenizer: 'x'\n"
        "train: 1 sentences of more than 4 tokens\n"
    )


def test_batches_hold_every_sentence_within_the_bound(make):
    lines = ["a", "b" * 9, "c" * 5, "d d"] * 5
    config = make(
        lines,
        dev=lines,
        dev_texts=["any"],
        global_batch=20,
        steps=2,
        max_batch_tokens=24,
    )
    steps = list(text_loader(config))
    assert len(steps) == 2
    for batches in [*steps, list(TextValidation(config))]:
        found = []
        for batch in batches:
            rows, width = batch.tokens.shape
            assert rows == 1 or rows * (width + 1) <= 24
            for row, length in zip(
                batch.tokens.tolist(), batch.token_lens.tolist(), strict=True
            ):
                found.append(tuple(row[:length]))
                assert not any(row[length:])
        assert len(found) == 20
    assert sorted(found) == sorted(read(config, "dev"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze_encoder_steps": 5}, "are for models with an encoder"),
        ({"head_lr_scale": 2.0}, "are for models with an encoder"),
    ],
)
def test_what_would_do_nothing_is_refused(values, message):
    optim = OptimConfig(torch.optim.AdamW, WarmupCosine, **values)
    with pytest.raises(UserError, match=message):
        LmRunConfig("lm", "t", ["a"], "out", optim)


def test_other_sentences_are_refused_where_there_is_a_checkpoint(
    make, tmp_path
):
    make(LINES[1:], dev=["a"], dev_texts=["any"])  # none yet
    config = make(LINES, dev=["a"], dev_texts=["any"])
    metadata = {"data": _read_digests(config.output_folder)}
    CheckpointFolder(tmp_path / "checkpoints").save(1, {}, metadata)
    for lines, dev, told in (
        (LINES[1:] + ["d"] * 2, ["a"], "'train' .* .2 added, 1 removed.; bri"),
        (LINES[::-1], ["a"], "'train' .* .in another order."),
        (LINES, ["a", "b"], "'dev' .* .1 added."),
    ):
        with pytest.raises(UserError, match=told):
            make(lines, dev=dev, dev_texts=["any"])
        assert len(read(config, "train")) == len(LINES)
    make(LINES, dev=["a"], dev_texts=["any"])
