"""The recipe of the neural language model: from texts to files that score."""

import json
import math

import pytest

from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, load_tokenizer
from nar_asr_lobes.lm.neural import NeuralLM
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.hparams import load_run
from tests.recipes.running import RECIPES, run

SENTENCES = [
    "take two tablets a day",
    "call me if it gets worse",
    "how is the pain now",
    "the fever came at night",
]
TINY = "--model={d_model: 32, heads: 2, ffn_dim: 64, layers: 2, dropout: 0.0}"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A tokenizer, a manifest and a text file."""
    folder = tmp_path_factory.mktemp("texts")
    CharTokenizer({c for s in SENTENCES for c in s}).save(
        folder / "tokenizer.json"
    )
    write_manifest(
        folder / "train.jsonl",
        [
            Utterance(f"u{i}", "a.wav", 1.0, text)
            for i, text in enumerate(SENTENCES[:2])
        ],
        folder,
    )
    lines = [f"{line.capitalize()}!" for line in SENTENCES[2:]]
    (folder / "more.txt").write_text("\n".join(["", *lines, "x y z"]))
    return folder


def log_text(folder):
    return (folder / "log.txt").read_text()


def train(folder, texts, *options):
    return run(
        "LM",
        "train",
        f"--tokenizer={texts}",
        f"--texts=[{texts}/train.jsonl, {texts}/more.txt]",
        f"--output_folder={folder}",
        "--device=cpu",
        "--global_batch=4",
        "--precision=fp32",
        TINY,
        *options,
    )


@pytest.fixture(scope="module")
def memorised(texts, tmp_path_factory):
    """A run whose dev sentences are those of its training."""
    folder = tmp_path_factory.mktemp("memorised")
    return folder, train(
        folder,
        texts,
        f"--dev_texts=[{texts}/train.jsonl, {texts}/more.txt]",
        "--steps=150",
        "--bucket_steps=1",
        "--peak_lr=1e-2",
    )


def test_a_tiny_model_memorises_its_sentences(texts, memorised):
    folder, outcome = memorised
    assert outcome.code == 0, outcome.err
    lm = NeuralLM.load(
        folder / "lm.safetensors", load_tokenizer(texts / "tokenizer.json")
    )
    tokenizer = load_tokenizer(texts / "tokenizer.json")
    scores = lm.sentences([tokenizer.encode(s) for s in SENTENCES])
    # a quarter each is all that can be had
    assert scores == pytest.approx([math.log(0.25)] * 4, abs=0.4)
    other = tokenizer.encode("take two tablets at night")
    assert lm.sentences([other])[0] < -5


def test_the_end_is_told_in_numbers(memorised):
    folder, outcome = memorised
    results = json.loads((folder / "results.json").read_text())
    tokens = sum(len(sentence) + 1 for sentence in SENTENCES)
    words = sum(len(sentence.split()) + 1 for sentence in SENTENCES)
    nats = results["nats_per_token"]
    assert nats == pytest.approx(4 * math.log(4) / tokens, abs=0.02)
    assert results["perplexity_per_word"] == pytest.approx(
        math.exp(nats * tokens / words)
    )
    assert 2 < results["unigram_nats_per_token"] < math.log(20)
    score = CheckpointFolder(folder / "checkpoints").best().metadata["score"]
    assert score == pytest.approx(nats, abs=1e-4)
    assert f"{nats:.3f} nats per token on dev" in log_text(folder)
    assert "audio-h/h" not in outcome.err
    assert set(json.loads((folder / "seconds.json").read_text())) == {
        "prepare",
        "lm",
        "evaluate",
    }


def test_what_cannot_be_used_is_counted(memorised):
    folder, _ = memorised
    fault = "1 sentences with characters outside the tokenizer: 'x' 'z'\n"
    assert (folder / "left_out.txt").read_text() == (
        f"train: {fault}dev: {fault}"
    )


def test_a_stopped_run_ends_in_the_same_weights(texts, tmp_path):
    options = ["--steps=4", "--dev_ratio=0.5", "--seed=3"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, texts, *options).code == 0
    log = "--logging={checkpoint_interval: 2}"
    assert train(parts, texts, *options, log).code == 0
    last = CheckpointFolder(parts / "checkpoints").newest()
    for path in last.path.iterdir():
        path.unlink()  # as if it had stopped before its end
    last.path.rmdir()
    assert train(parts, texts, *options, log).code == 0
    assert "resuming from" in log_text(parts)
    for name in ("lm.safetensors", "results.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--texts=[]"], "texts is empty; name a manifest"),
        (["--texts=[no.txt]"], "no.txt: cannot be read"),
        (["--dev_texts=[no.jsonl]"], "no.jsonl: cannot be read"),
        (["--tokenizer=no"], "no: cannot read this tokenizer"),
        (["--tokenizer=."], ".: holds no tokenizer; name a fine-tuning's"),
        (["--dev_ratio=0"], "dev_ratio is 0; give a share between 0 and 1"),
        (["--dev_ratio=1e-9"], "4 sentences are too few for dev_ratio"),
        (["--max_tokens=3"], "no sentence of train is short enough"),
        (["--text_style=no"], "text_style is 'no'; choose from none, english"),
        (["--model={width: 3}"], "model: unknown key 'width'"),
        (["--model={d_model: 9}"], "model: d_model 9 does not split"),
        (["--optim={max_norm: 2}"], "optim: unknown key 'max_norm'"),
        (["--tokens=3"], "unknown key 'tokens'"),
    ],
)
def test_a_mistake_is_one_clear_sentence(texts, tmp_path, options, message):
    assert message in train(tmp_path, texts, *options).error


def test_the_yaml_states_a_whole_training():
    path = RECIPES / "LM" / "hparams" / "train.yaml"
    config = load_run(path, "tokenizer: x\ntexts: [y]")
    assert config.optim.max_grad_norm == 1.0
    assert config.text_style == "english"
