"""The section lm of a fine-tuning, and what an evaluation puts in its place."""

import json
import re
import shutil

import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding import tuning
from nar_asr_lobes.decoding.modes import MODES
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.lm.neural import WEIGHTS, NeuralLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm
from tests.training.tiny_recipe import copy_of, finished_runs, run_tiny


def save_lm(folder, tokenizer, seed=1):
    """Write a random Transformer as a training of recipes/LM would."""
    torch.manual_seed(seed)
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), tokenizer.size))
    with torch.no_grad():
        neural.model.output.weight.mul_(8.0)
    neural.save(folder / WEIGHTS, tokenizer)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a fine-tuning, ``finetune``, that had no neural model."""
    return finished_runs(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def tokenizer(finished):
    return load_bundle(finished / "finetune" / "bundle").tokenizer


@pytest.fixture(scope="module")
def ended_again(finished, tokenizer, tmp_path_factory):
    """The same run with a neural model; to read only."""
    folder = tmp_path_factory.mktemp("ended_again")
    shutil.copytree(finished / "finetune", folder / "out")
    copy_of(finished, folder)
    neural = save_lm(folder / "lm", tokenizer)
    option = f"--lm={{neural: {neural}, tune: True}}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "_NEURAL_WEIGHTS", (0.5,))
        return folder, run_tiny(folder, "finetune", option)


def results(folder):
    """The numbers of each mode on test, without the times."""
    found = json.loads((folder / "results.json").read_text())["test"]
    return {
        mode: {key: number for key, number in numbers.items() if key != "rtf"}
        for mode, numbers in found.items()
    }


def test_a_finished_run_goes_on_with_a_neural_model(finished, ended_again):
    folder, outcome = ended_again
    assert outcome.code == 0, outcome.err
    assert list(results(folder / "out")) == list(MODES)
    greedy = results(finished / "finetune")["ctc_greedy"]
    assert results(folder / "out")["ctc_greedy"] == greedy  # not trained anew
    surface = json.loads((folder / "out" / "tuning.json").read_text())
    assert {p["neural_weight"] for p in surface["nar_beam5_lm"]} == {0.5}
    card = (folder / "out" / "bundle" / "README.md").read_text()
    assert "- An n-gram of pieces, order 2, for `beam5_lm`" in card
    assert re.search(r"- A Transformer of \d,\d\d\d weights, to re-score", card)


def test_its_bundle_has_all_language_models(ended_again):
    folder, _ = ended_again
    bundle = load_bundle(folder / "out" / "bundle")
    assert bundle.lms.present == {"ngram", "neural"}
    assert bundle.options.nar_beam5_lm.neural_weight == 0.5
    neural = NeuralLM.load(folder / "lm" / WEIGHTS, bundle.tokenizer)
    scores = [lm.sentences([(2, 3)]) for lm in (bundle.lms.neural, neural)]
    assert scores[0] == scores[1]


@pytest.fixture
def evaluate(ended_again, tmp_path):
    """Evaluate the bundle with options; return the numbers."""
    folder, _ = ended_again

    def run(name, *options):
        target = f"--output_folder={tmp_path / name}"
        bundle = f"--bundle={folder / 'out' / 'bundle'}"
        modes = "--modes=[beam5, beam5_lm, nar_beam5_lm]"
        outcome = run_tiny(folder, "evaluate", bundle, target, modes, *options)
        assert outcome.code == 0, outcome.err
        return results(tmp_path / name)

    return run


def test_an_evaluation_repeats_the_run(ended_again, evaluate):
    ended = results(ended_again[0] / "out")
    found = evaluate("as_it_is")
    assert found == {mode: ended[mode] for mode in found}


def test_an_evaluation_merges_its_options_over_the_bundles(evaluate):
    same = "{lm_weight: 0.0, token_bonus: 0.0}"
    found = evaluate("off", f"--decoding={{beam5_lm: {same}}}")
    assert found["beam5_lm"] == found["beam5"]


def test_an_evaluation_puts_other_models_in_their_place(
    evaluate, tokenizer, tmp_path
):
    texts = ["a"] * 9  # so that nothing else is likely
    ngram = train_ngram(texts, tokenizer, 1, tmp_path / "a.arpa").path
    strong = "--decoding={beam5_lm: {lm_weight: 30.0}}"
    other = f"--lm={{ngram: {ngram}}}"
    mine, theirs = evaluate("mine", strong), evaluate("theirs", strong, other)
    assert theirs["beam5_lm"] != mine["beam5_lm"]
    assert theirs["beam5"] == mine["beam5"]


EVALUATE = [
    ("--lm={neural: no}", "no/lm.safetensors: there is no neural language m"),
    ("--lm={ngram: no.ngram}", "no.ngram: there is no file of n-gram tables"),
    ("--lm={order: 3}", "lm: unknown key 'order'; "),
    ("--lm={neural: [3]}", "lm: neural is .*3.*; give a path"),
    ("--decoding={beam9: {}}", "decoding: unknown key 'beam9'"),
    (
        "--decoding={nar_beam5_lm: {neural_weight: 0.1}}",
        "decoding.nar_beam5_lm: neural_weight is 0.1 but there is no languag",
    ),
]


@pytest.mark.parametrize(("option", "message"), EVALUATE)
def test_what_an_evaluation_cannot_use(finished, tmp_path, option, message):
    bundle = f"--bundle={finished / 'finetune' / 'bundle'}"
    target = f"--output_folder={tmp_path}"
    outcome = run_tiny(finished, "evaluate", bundle, target, option)
    assert re.search(message, outcome.error), outcome.error


FINETUNE = [
    ("{neural: no}", "{}", "no/lm.safetensors: there is no neural language"),
    ("{neural: other}", "{}", "made with another tokenizer"),
    (
        "null",
        "{nar_beam5_lm: {neural_weight: 0.2}}",
        "decoding.nar_beam5_lm: neural_weight is 0.2 but there is no languag",
    ),
]


@pytest.mark.parametrize(("lm", "decoding", "message"), FINETUNE)
def test_a_mistake_is_told_before_the_training(
    finished, tmp_path, monkeypatch, lm, decoding, message
):
    copy_of(finished, tmp_path)
    save_lm(tmp_path / "other", CharTokenizer("xyz"))
    monkeypatch.chdir(tmp_path)
    options = f"--lm={lm}", f"--decoding={decoding}"
    outcome = run_tiny(tmp_path, "finetune", *options)
    assert message in outcome.error
    assert not (tmp_path / "out" / "checkpoints").exists()
