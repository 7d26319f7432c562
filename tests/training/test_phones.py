"""A run whose intermediate layers learn phones."""

import json

import pytest

from nar_asr_lobes.dataio.synthesis.phones import load_lexicon
from nar_asr_lobes.inference.bundle import load_bundle
from tests.training.tiny_recipe import copy_of, finished_runs, run_tiny

pytest.importorskip("espeakng_loader")

PHONES = "--tokenizer={kind: char, phones: en-us}"


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    """A folder with YAMLs and a corpus."""
    return copy_of(finished_runs(tmp_path_factory.getbasetemp()), tmp_path)


def test_it_trains_goes_on_and_writes_a_bundle(folder):
    lm = "--lm=null"
    assert run_tiny(folder, "finetune", PHONES, lm).code == 0
    lexicon = load_lexicon(folder / "out" / "lexicon.json")
    texts = [
        json.loads(line)["text"]
        for split in ("train", "dev")
        for line in (folder / "out" / "checked" / f"{split}.jsonl")
        .read_text()
        .splitlines()[1:]
    ]
    assert set(lexicon.words) == set(" ".join(texts).split())
    bundle = load_bundle(folder / "out" / "bundle")
    assert bundle.model.config.inter_vocab_size == lexicon.size
    assert bundle.model.vocab_size == bundle.tokenizer.size
    assert run_tiny(folder, "finetune", PHONES, lm).code == 0  # from its end


def test_an_unknown_language_is_said_before_the_training(folder):
    option = "--tokenizer={kind: char, phones: xx-nowhere}"
    outcome = run_tiny(folder, "finetune", option)
    assert outcome.code == 2
    assert "espeak-ng has no voice 'xx-nowhere'" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
