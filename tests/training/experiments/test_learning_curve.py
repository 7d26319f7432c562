"""The learning curve: its plan, its figures, and a run to its end."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.manifest import (
    Utterance,
    read_manifest,
    write_manifest,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import write_alignments
from nar_asr_lobes.training.config import LmConfig
from nar_asr_lobes.training.experiments import learning_curve
from nar_asr_lobes.training.experiments.curve_report import (
    curve_numbers,
    format_curve,
)
from nar_asr_lobes.training.experiments.learning_curve import (
    describe_texts,
    forecast,
    plan_trainings,
    read_curve,
)
from tests.training.tiny_recipe import make_corpus, write_yamls

ROOT = Path(__file__).parents[3]
SHARES = (0.125, 0.25, 0.5, 1.0)
WORDS = 200


@pytest.fixture
def recipe(tmp_path):
    """A recipe of tone speech; its YAML."""
    folder = tmp_path / "recipe"
    write_yamls(folder / "hparams")
    (folder / "train.py").write_text(
        "import sys\n\nfrom tests.training.tiny_recipe import main, prepare\n"
        "\nsys.exit(main(sys.argv[1:], prepare))\n"
    )
    return folder / "hparams" / "finetune.yaml"


def plan(recipe, *options, shares=SHARES, seeds=1):
    options = ["--data_folder=data", *options]
    output = recipe.parent.parent / "out"
    return plan_trainings(recipe, output, shares, seeds, options)


def finish(folder, share, rates):
    """Write the files of a finished training with error rates by speaker."""
    train = [
        Utterance(str(n), f"{n}.wav", 45.0) for n in range(int(80 * share))
    ]
    write_manifest(folder / "checked" / "train.jsonl", train, folder)
    speakers = np.repeat(np.arange(len(rates)), 2)
    rows = [
        Utterance(f"t{n}", f"{n}.wav", 1.0, "a", speaker=f"s{speaker}")
        for n, speaker in enumerate(speakers)
    ]
    write_manifest(folder / "manifests" / "test.jsonl", rows, folder)
    wrong = [round(WORDS * rates[speaker]) for speaker in speakers]
    counts = write_alignments(
        folder / "alignments" / "test" / "nar.txt",
        [row.id for row in rows],
        ["a " * WORDS] * len(rows),
        ["b " * n + "a " * (WORDS - n) for n in wrong],
    )
    numbers = {"headline": "wer", "wer": counts.wer, "cer": 0.5}
    results = {"test": {"ctc_greedy": numbers, "nar": numbers}}
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def finished(recipe):
    """Trainings of two seeds whose WER is 0.2 hours^-0.5 in the mean."""
    config, trainings = plan(recipe, seeds=2)
    for place, (training, share) in enumerate(trainings.items()):
        rate = 0.2 * share**-0.5
        spread = 0.03 * np.array([1, -1, 1, -1, 1, -1])
        finish(training.folder, share, rate + 0.01 * (-1) ** place + spread)
    return config, trainings


def test_a_training_for_each_share_and_seed(recipe):
    config, trainings = plan(recipe, "--steps=3", seeds=2)
    assert list(trainings.values()) == [
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.25,
        *[0.125] * 2,
    ]
    found = {t.folder.name: t.options for t in trainings}
    assert found[f"share-0.125-seed-{config.seed + 1}"] == (
        "--data_folder=data",
        "--steps=3",
        "--train_share=0.125",
        f"--seed={config.seed + 1}",
    )
    for training in trainings:
        training.check()


@pytest.mark.parametrize(
    ("options", "shares", "said"),
    [
        (["--seed=3"], SHARES, "--seed: is set for each training"),
        (["--train_share=1"], SHARES, "--train_share: is set for each"),
        (["--stepps=3"], SHARES, "did you mean 'steps'"),
        (["--task=pretrain"], SHARES, "its task is pretrain; name the"),
        ([], [1.0, 1.0], "shares: give at least two"),
        ([], [0.5, 1.5], "shares: give at least two"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    recipe, options, shares, said
):
    with pytest.raises(UserError, match=said):
        plan(recipe, *options, shares=shares)


def test_the_points_are_those_of_the_trainings(finished):
    curve = read_curve(*finished)
    assert (curve.split, curve.mode, curve.rate) == ("test", "nar", "wer")
    assert [point.share for point in curve.points] == list(SHARES)
    assert curve.hours == pytest.approx([0.125, 0.25, 0.5, 1.0])
    assert curve.speakers == 6
    results = [
        json.loads((t.folder / "results.json").read_text())
        for t, share in finished[1].items()
        if share == 0.5
    ]
    wanted = [found["test"]["nar"]["wer"] for found in results]
    assert curve.points[2].rates["nar"] == wanted


def test_a_law_is_found_and_its_interval_holds_it(finished):
    found = forecast(read_curve(*finished))
    mean, low, high = found.rates([4.0])[:, 0]
    assert low < mean < high
    assert low < 0.1 < high
    hours, least, most = found.hours(0.1)
    assert least < hours < most and least < 4 < most


def test_speakers_and_seeds_are_drawn(finished):
    """The spread of the draws is that of a loop over them."""
    config, trainings = finished
    drawn = read_curve(config, trainings).drawn[:, -1]
    tables = []
    for training, share in trainings.items():
        if share == 1.0:
            path = training.folder / "alignments" / "test" / "nar.txt"
            counts = learning_curve.read_error_counts(path)
            pairs = [counts[f"t{n}"] for n in range(12)]
            tables.append(np.array(pairs).reshape(6, 2, 2).sum(1))
    rng = np.random.default_rng(5)
    naive = []
    for _ in range(4000):
        speakers = rng.integers(6, size=6)
        sums = [tables[n][speakers].sum(0) for n in rng.integers(2, size=2)]
        naive.append(np.mean([wrong / total for wrong, total in sums]))
    assert np.mean(drawn) == pytest.approx(np.mean(naive), abs=2e-3)
    assert np.std(drawn) == pytest.approx(np.std(naive), rel=0.1)


def test_unfinished_shares_are_left_out(finished):
    config, trainings = finished
    for training, share in trainings.items():
        if share < 0.5:
            (training.folder / "results.json").unlink()
    assert len(read_curve(config, trainings).points) == 2
    for training, share in trainings.items():
        if share == 0.5:
            (training.folder / "results.json").unlink()
    with pytest.raises(UserError, match="1 shares are finished, and a curve"):
        read_curve(config, trainings)


@pytest.mark.parametrize(
    ("choice", "said"),
    [({"split": "x"}, "has no split 'x'"), ({"mode": "x"}, "choose from ctc_")],
)
def test_an_unknown_split_or_mode_is_refused(finished, choice, said):
    with pytest.raises(UserError, match=said):
        read_curve(*finished, **choice)


def test_the_table_and_the_numbers(finished):
    curve = read_curve(*finished)
    found = forecast(curve)
    table = format_curve(curve, found, [0.1, 1e-9], "no n-gram")
    assert "| share | hours | utterances | ctc_greedy, % | nar, % |" in table
    assert "6 resampled speakers and 2 seeds" in table
    assert "| 10 | " in table and " to never |" in table
    numbers = json.loads(json.dumps(curve_numbers(curve, found, [1e-9], "x")))
    assert numbers["targets"][0]["interval"][1] is None
    one = replace(
        curve,
        points=[replace(x, rates={"nar": [0.5]}) for x in curve.points],
    )
    assert "--seeds 3" in format_curve(one, found, [], "no n-gram")


@pytest.mark.parametrize(
    ("lm", "said"),
    [
        (None, "no n-gram"),
        (LmConfig(), "n-gram of each share's own transcripts"),
        (
            LmConfig(texts=["a/lm.txt"], transcripts=False),
            "n-gram of all of lm.txt",
        ),
    ],
)
def test_the_text_of_the_ngram_is_named(lm, said):
    assert describe_texts(lm) == said


def test_a_curve_is_made_and_not_made_again(recipe, capsys, monkeypatch):
    """Each share is part of the larger ones, and a second call trains none."""
    pytest.importorskip("matplotlib", reason="no extra demo")
    folder = recipe.parent.parent
    make_corpus(folder / "data")
    path = os.pathsep.join(
        [str(ROOT), *filter(None, [os.getenv("PYTHONPATH")])]
    )
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PATH", "")  # SpeechBrain then lists no packages
    command = [
        *("learning-curve", str(recipe)),
        *("--output_folder", str(folder / "out")),
        *("--set", f"data_folder={folder / 'data'}", "--set", "device=cpu"),
        *("--shares", "0.5", "1", "--targets", "50"),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| 0.5 | " in printed and "| 50 | " in printed
    ids = [
        {row.id for row in read_manifest(path)}
        for share in ("0.5", "1")
        for path in (folder / "out").glob(
            f"share-{share}-*/checked/train.jsonl"
        )
    ]
    assert len(ids[0]) == 5 and ids[0] < ids[1] and len(ids[1]) == 10
    out = folder / "out"
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    before = (out / "learning_curve.json").read_text()
    monkeypatch.setattr("subprocess.Popen", None)
    assert main(command) == 0
    assert (out / "learning_curve.json").read_text() == before
    assert main([*command, "--set", "steps=3"]) == 2
    assert "was begun with fewer, now it is --steps=3" in (
        capsys.readouterr().err
    )
