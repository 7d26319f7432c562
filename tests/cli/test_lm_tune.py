"""`nar-asr lm tune`, called as a function."""

import json
from dataclasses import asdict

import pytest
import torch
import yaml

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.decoding.saved_posteriors import (
    SavedPosteriors,
    write_posteriors,
)
from nar_asr_lobes.decoding.tuning import (
    LM_WEIGHTS,
    TOKEN_BONUSES,
    tune_beam,
)
from nar_asr_lobes.inference.bundle import load_bundle, write_bundle
from nar_asr_lobes.inference.bundle_files import BundleCard
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.training import train_ngram

TOKENIZER = CharTokenizer(" abn")
TEXTS = ["a ban", "nab a", "ban ban nab", "a nab"]
GRID = ("--lm-weights", "0.5", "0", "2", "--token-bonuses", "-1", "1", "0", "1")


def noisy(texts, tokenizer, seed=1, noise=2.3):
    """Posteriors [T, V] of each text, in which some letters are misheard."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for text in texts:
        tokens = [x for id_ in tokenizer.encode(text) for x in (id_, 0)]
        logits = noise * torch.randn(
            len(tokens), tokenizer.size, generator=generator
        )
        logits[range(len(tokens)), tokens] += 4
        rows.append(logits.log_softmax(-1))
    return rows


def save(path, tokenizer=TOKENIZER, texts=TEXTS):
    """Write the posteriors of a development set."""
    rows = noisy(texts, tokenizer)
    ids = [f"u{number}" for number in range(len(texts))]
    saved = SavedPosteriors(ids, texts, rows, tokenizer.fingerprint, 0.04, 3.0)
    write_posteriors(path, saved)
    return rows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with posteriors, language model and tokenizer."""
    monkeypatch.chdir(tmp_path)
    TOKENIZER.save("tokenizer.json")
    train_ngram(TEXTS, TOKENIZER, 3, "lm.arpa")
    save("dev")
    return tmp_path


def tune(*options, tokenizer="tokenizer.json"):
    """Call the command."""
    files = ["dev", "--lm", "lm.ngram", "--tokenizer", str(tokenizer)]
    return main(["lm", "tune", *files, *options])


def wanted(options, lm_weights=LM_WEIGHTS, token_bonuses=TOKEN_BONUSES):
    """The result of ``tune_beam`` for the same input."""
    lm = NgramLM.load("lm.ngram", TOKENIZER)
    rows = noisy(TEXTS, TOKENIZER)
    return tune_beam(
        rows, TEXTS, TOKENIZER, lm, options, lm_weights, token_bonuses
    )


def test_the_file_holds_the_surface(folder, capsys):
    assert tune() == 0
    found = json.loads((folder / "lm_tuning.json").read_text())
    tuning = wanted(BeamOptions())
    assert found["surface"] == tuning.surface
    assert found["beam5_lm"] == asdict(tuning.best)
    assert (found["words"], found["utterances"]) == (9, 4)
    assert (found["posteriors"], found["lm"]) == ("dev", "lm.ngram")
    assert "48/48" in capsys.readouterr().err  # the progress bar


def test_options_reach_the_search(folder):
    assert tune(*GRID, "--beam-size", "1", "--output", "a.json") == 0
    found = json.loads((folder / "a.json").read_text())
    one = BeamOptions(beam_size=1)
    tuning = wanted(one, (0, 0.5, 2), (-1, 0, 1))  # sorted, each once
    assert found["surface"] == tuning.surface
    assert found["beam5_lm"]["beam_size"] == 1
    wide = wanted(BeamOptions(), (0, 0.5, 2), (-1, 0, 1))
    assert wide.surface != tuning.surface


def test_what_is_printed_can_be_put_into_the_yaml(folder, capsys):
    assert tune(*GRID) == 0
    head, _, lines = capsys.readouterr().out.partition("decoding:")
    found = json.loads((folder / "lm_tuning.json").read_text())
    given = yaml.safe_load(f"decoding:{lines}")["decoding"]
    assert list(given["beam5_lm"]) == ["lm_weight", "token_bonus"]
    options = DecodingOptions.from_dict(given).beam5_lm
    assert options == BeamOptions(**found["beam5_lm"])
    table = head.splitlines()[:6]
    assert table[0] == "error rate in % of 9 words or characters; * the best"
    assert [float(x) for x in table[2].split()] == [-1, 0, 1]
    assert [float(row.split()[0]) for row in table[3:]] == [0, 0.5, 2]
    rates = [cell for row in table[3:] for cell in row.split()[1:]]
    errors = [100 * point["errors"] / 9 for point in found["surface"]]
    assert [float(x.strip("*")) for x in rates] == [round(x, 2) for x in errors]
    best = {key: getattr(options, key) for key in ("lm_weight", "token_bonus")}
    [place] = [
        i for i, x in enumerate(found["surface"]) if best.items() < x.items()
    ]
    assert [i for i, x in enumerate(rates) if "*" in x] == [place]


def grid(weights, bonuses):
    """Options of a grid."""
    return ("--lm-weights", *weights, "--token-bonuses", *bonuses)


@pytest.mark.parametrize(
    ("options", "hints"),
    [
        (grid(["0", "2"], ["0"]), ["lm_weight is at an end of the grid; try"]),
        (grid(["0.4"], ["2", "2.5"]), ["with --token-bonuses"]),
        (grid(["0.4"], ["0", "1"]), ["with --token-bonuses"]),
        (grid(["0.4"], ["0", "0.5"]), []),  # equally good
        (grid(["0.4"], ["1"]), []),
        (grid(["0"], ["1"]), []),
        (grid(["0", "2", "60"], ["-20", "0", "20"]), []),
        (grid(["0", "60"], ["0"]), ["model it is no better than without"]),
    ],
)
def test_a_grid_that_is_too_small_is_told(folder, capsys, options, hints):
    assert tune(*options) == 0
    out = capsys.readouterr().out
    assert sum(out.count(part) for part in ("try values", "no better")) == len(
        hints
    ), out
    assert all(hint in out for hint in hints), out


def test_a_bundle_gives_its_tokenizer_and_search(bundle_folder, folder):
    bundle = load_bundle(bundle_folder)
    options = DecodingOptions.from_dict({"beam5_lm": {"max_candidates": 3}})
    parts = bundle.model, bundle.tokenizer, options
    write_bundle("bundle", *parts, card=BundleCard("Random"))
    texts = ["ab cab", "bad cab"]
    train_ngram(texts, bundle.tokenizer, 2, "lm.arpa")
    save("dev", bundle.tokenizer, texts)
    assert tune(*GRID, tokenizer="bundle") == 0
    found = json.loads((folder / "lm_tuning.json").read_text())
    assert found["beam5_lm"]["max_candidates"] == 3


def keep():
    """Damage nothing."""


def cut():
    with open("dev", "r+b") as file:
        file.truncate(500)


def lose():
    save("dev", texts=["", ""])


def other():
    tokenizer = CharTokenizer(" xyz")
    train_ngram(["x y"], tokenizer, 2, "lm.arpa")


def other_model():
    save("dev", CharTokenizer(" abnz"))


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (cut, (), "dev: is no whole file of posteriors (it is cut off"),
        (lose, (), "dev: its references hold no word, so no word error can"),
        (other, (), "lm.ngram: this language model was made with another tok"),
        (other_model, (), "dev: these posteriors were made with another tok"),
        (keep, ("--lm", "dev"), "dev: is no whole file of n-gram tables (its"),
        (keep, ("--lm", "none"), "none: there is no file of n-gram tables; c"),
        (keep, ("--tokenizer", "x"), "x: cannot read this tokenizer"),
        (keep, ("--beam-size", "0"), "beam_size is 0; it must be a whole num"),
        (keep, ("--lm-weights", "nan"), "lm_weight is nan; it must be a fin"),
        (keep, ("--lm-weights", "1", "-1"), "lm_weight is -1.0; it must be a"),
        (keep, ("--token-bonuses", "0", "inf"), "token_bonus is inf; it must"),
        (keep, ("--output", "no/a.json"), "no/a.json: its folder does not ex"),
    ],
)
def test_mistakes_are_told(folder, capsys, damage, options, message):
    damage()
    assert tune(*options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith(f"error: {message}"), err
    assert "grid" not in err  # nothing was searched
    assert not (folder / "lm_tuning.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lm-weights",), "lm-weights: expected at least one argument"),
        (("--token-bonuses", "much"), "bonuses: invalid float value: 'much'"),
    ],
)
def test_wrong_usage_ends_with_2(folder, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        tune(*options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_cannot_be_written_is_told_after_the_table(folder, capsys):
    (folder / "a").mkdir()
    assert tune(*GRID, "--output", "a") == 2
    out, err = capsys.readouterr()
    assert "lm_weight: " in out
    assert "error: a: cannot be written (" in err.splitlines()[-1]
