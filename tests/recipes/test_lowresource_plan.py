"""The plan of the low-resource experiment, and how its trainings are run."""

import json
import sys
from pathlib import Path
from unittest import mock

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.experiments import trainings
from tests.recipes.librispeech_tree import make_lowresource
from tests.recipes.running import RECIPES, parser

prepare = parser("LowResource")
with mock.patch.object(sys, "path", [str(RECIPES / "LowResource"), *sys.path]):
    import experiment
    import lowresource_plan as plans
    from lowresource_report import Cell


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_lowresource(tmp_path_factory.mktemp("data"))


@pytest.fixture
def plan(data, tmp_path):
    """A plan whose stages have an option each."""
    stages = {stage: [f"--x={stage}"] for stage in plans.STAGES}
    return plans.Plan(tmp_path, data, 0, stages)


@pytest.fixture
def planned(plan):
    """Return a function that plans the training of a cell."""
    return lambda *cell: plan.cell(Cell(*cell))


def test_every_cell_of_a_language_has_the_same_text(planned, data, tmp_path):
    everything = prepare(str(data), "yoruba")["train"]
    planned("yoruba", 0.1, "scratch")
    heard = prepare(str(data), "yoruba", 0.1)["train"]
    unheard = (tmp_path / "texts" / "yoruba-0.1min.txt").read_text()
    texts = [row.text for row in heard] + unheard.splitlines()
    assert sorted(texts) == sorted(row.text for row in everything)


def test_cells_differ_in_their_start_only(planned, tmp_path):
    scratch = planned("swahili", None, "scratch")
    ours = planned("swahili", None, "best_rq")
    assert "--x=finetune" in scratch.options
    assert [x.folder.name for x in ours.after] == ["best_rq"]
    added = set(ours.options) ^ set(scratch.options)
    assert added == {f"--init_from={tmp_path / 'best_rq'}"}
    assert ours.folder != scratch.folder


def test_seeds_differ_in_theirs_only(planned):
    one = planned("swahili", None, "scratch")
    two = planned("swahili", None, "scratch", 2)
    assert set(two.options) ^ set(one.options) == {"--seed=2"}
    assert (one.folder.name, two.folder.name) == (
        "swahili-all-scratch",
        "swahili-all-scratch-seed2",
    )
    cells = plans.plan_cells(["swahili"], ["all"], experiment.STARTS, 2)
    assert [cell.seed for cell in cells] == [1, 1, 1, 2, 2, 2]


def test_the_plan_may_be_a_part():
    starts = experiment.STARTS
    everything = plans.plan_cells(plans.AMOUNTS, experiment.NAMES, starts)
    assert len(everything) == len(set(everything)) == 24
    part = plans.plan_cells(["swahili", "yoruba"], ["60min"], starts)
    assert [cell.name for cell in part] == [
        f"yoruba-60min-{start}" for start in starts
    ]


def test_with_all_labels_there_is_no_self_training():
    starts = ("scratch", "transfer-selftrain")
    cells = plans.plan_cells(["swahili"], experiment.NAMES, starts)
    assert [cell.name for cell in cells] == [
        "swahili-10min-scratch",
        "swahili-10min-transfer-selftrain",
        "swahili-all-scratch",
    ]


def options_of(training):
    """The options of a training by name, sections as dicts."""
    found = {}
    for option in training.options:
        name, _, value = option.removeprefix("--").partition("=")
        found[name] = json.loads(value) if value.startswith("{") else value
    return found


def test_transfer_is_trained_on_before_the_target(planned, tmp_path):
    last = planned("yoruba", 0.1, "best_rq-transfer")
    order = trainings.in_order([last])
    assert [x.folder.name for x in order] == [
        "best_rq",
        "best_rq-transfer-yoruba",
        "yoruba-0.1min-best_rq-transfer",
    ]
    transfer = options_of(order[1])
    assert transfer["data"]["options"] == {"language": "yoruba"}
    assert transfer["x"] == "transfer"
    for this, before in zip(order[1:], order, strict=False):
        assert options_of(this)["init_from"] == str(before.folder)


def test_two_rounds_of_self_training(planned, tmp_path):
    """A label, a training on it from the start, and one on the true labels."""
    order = trainings.in_order([planned("yoruba", 0.1, "transfer-selftrain2")])
    names = [x.folder.name for x in order]
    once, twice = (f"yoruba-0.1min-transfer-selftrain{n}" for n in ("", "2"))
    assert names == [
        "transfer-yoruba",
        "yoruba-0.1min-transfer",
        "yoruba-0.1min-transfer-labels",
        f"{once}-pseudo",
        once,
        f"{once}-labels",
        f"{twice}-pseudo",
        twice,
    ]
    folders = {name: str(tmp_path / name) for name in names}
    by_name = dict(zip(names, map(options_of, order), strict=True))
    label, pseudo, gold = (by_name[name] for name in names[-3:])
    assert label["bundle"] == f"{folders[once]}/bundle"
    assert label["data"]["train"] == "unlabelled"
    assert pseudo["init_from"] == folders["transfer-yoruba"]
    found = pseudo["data"]["options"]["labels"]
    assert found == [f"{folders[f'{once}-labels']}/labels.jsonl"]
    assert gold["init_from"] == folders[f"{twice}-pseudo"]
    assert gold["data"] == by_name[once]["data"] | {"train": "train"}
    assert gold["lm"] == by_name["yoruba-0.1min-transfer"]["lm"]
    for stage in (pseudo, gold):
        assert stage["tokenizer"] == {"path": folders[once]}
    assert [x["x"] for x in (label, pseudo, gold)] == [
        "label",
        "selftrain",
        "gold",
    ]


def test_halves_are_labelled_without_their_text(planned, plan, data):
    order = trainings.in_order([planned("yoruba", 0.1, "disjoint")])
    texts = {row.id: row.text for row in prepare(str(data), "yoruba")["train"]}
    rows = prepare(str(data), "yoruba", 0.1)
    names = [x.folder.name for x in order]
    for half in (0, 1):
        ngram = order[names.index(f"yoruba-0.1min-scratch-lm{half}")]
        label = order[names.index(f"yoruba-0.1min-scratch-labels{half}")]
        assert ngram in label.after
        assert options_of(label)["lm"]["ngram"] == str(
            ngram.folder / ngram.proof
        )
        assert options_of(label)["data"]["options"]["half"] == half
        known = Path(ngram.options[0]).read_text().splitlines()
        other = prepare(str(data), "yoruba", 0.1, half=1 - half)["unlabelled"]
        assert sorted(known) == sorted(
            texts[row.id] for row in (*rows["train"], *other)
        )


def test_mixed_labels_are_no_text_of_the_ngram(planned, data):
    mixed = options_of(planned("yoruba", 0.1, "mixed"))
    assert mixed["lm"]["transcripts"] is False
    [path] = mixed["lm"]["texts"]
    everything = prepare(str(data), "yoruba")["train"]
    assert sorted(Path(path).read_text().splitlines()) == sorted(
        row.text for row in everything
    )
    assert mixed["data"]["train"] == "mixed" and "init_from" not in mixed


def test_what_is_done_is_not_done_again(planned):
    training = planned("swahili", None, "scratch")
    assert not training.done
    training.begin()
    (training.folder / training.proof).write_text("{}")
    with mock.patch("subprocess.Popen", side_effect=AssertionError):
        assert training.run()


def test_one_process_trains_in_a_folder(planned):
    """Also when the experiment that began it was killed."""
    training, calls = planned("swahili", None, "scratch"), []
    training.begin()

    def train_and_try_again(*command, pass_fds, **options):
        calls.append(command)
        assert len(pass_fds) == 1 and not training.run()
        (training.folder / training.proof).write_text("{}")
        return mock.Mock()

    with mock.patch("subprocess.Popen", side_effect=train_and_try_again):
        assert training.run()
    assert len(calls) == 1


def test_runs_with_other_options_are_not_mixed(planned):
    training = planned("swahili", None, "scratch")
    training.begin()
    options = tuple(
        o.replace("--x=finetune", "--x=2") for o in training.options
    )
    other = trainings.Training(training.folder, "finetune.yaml", options, "a")
    other.begin()  # nothing was trained yet: a mistake may be mended
    training.begin()
    (training.folder / "checkpoints").mkdir()
    planned("swahili", None, "scratch").begin()
    with pytest.raises(UserError, match="with --x=finetune, now it is --x=2;"):
        other.begin()
