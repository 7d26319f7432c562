"""The low-resource experiment: its splits, its plan and its report."""

import argparse
import json
import sys
from unittest import mock

import pytest

from nar_asr_lobes.errors import UserError
from tests.recipes.librispeech_tree import make_lowresource
from tests.recipes.running import RECIPES, parser

prepare = parser("LowResource")
with mock.patch.object(sys, "path", [str(RECIPES / "LowResource"), *sys.path]):
    import experiment
    import lowresource_report as report

Cell = report.Cell


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_lowresource(tmp_path_factory.mktemp("data"))


def ids(rows):
    return {row.id for row in rows}


@pytest.mark.parametrize("language", experiment.AMOUNTS)
def test_no_test_speech_is_in_the_pool(data, language):
    splits = prepare(str(data), language)
    parts = [splits[name] for name in ("train", "dev", "test")]
    assert all(parts) and all(row.text for part in parts for row in part)
    files = [{row.audio for row in part} for part in parts]
    assert sum(map(len, files)) == len(set.union(*files))
    rows = list(splits["pool"])
    pool = {row.audio for row in rows}
    assert files[0] <= pool and not (files[1] | files[2]) & pool
    assert not any(row.text for row in rows)


def test_no_test_speaker_of_speechocean_is_in_the_pool(data):
    splits = prepare(str(data))
    heard = {row.speaker for row in splits["pool"]}
    assert not heard & {row.speaker for row in splits["test"]}
    assert not {row.speaker for row in splits["dev"]} & {
        row.speaker for row in splits["train"]
    }


@pytest.mark.parametrize("language", experiment.AMOUNTS)
def test_train_and_test_share_no_text(data, language):
    splits = prepare(str(data), language)
    texts = [{row.text for row in splits[name]} for name in ("train", "test")]
    assert all(texts) and not texts[0] & texts[1]


def test_the_pool_may_be_of_some_sets(data, tmp_path):
    """Others need not be there; nor need any but its own for a fine-tuning."""
    (tmp_path / "yoruba").symlink_to(data / "yoruba")
    splits = prepare(str(tmp_path), "yoruba", pool=["yoruba"])
    names = {row.id.partition("-")[0] for row in splits["pool"]}
    assert names == {"yoruba"}
    assert prepare(str(tmp_path), "yoruba")["train"]


def test_few_minutes_are_part_of_more(data):
    def seconds(rows):
        return sum(row.duration for row in rows)

    all_rows = prepare(str(data), "yoruba")["train"]
    few = prepare(str(data), "yoruba", 0.1)["train"]
    more = prepare(str(data), "yoruba", 0.2)["train"]
    assert ids(few) < ids(more) <= ids(all_rows)
    assert 3 < seconds(few) <= 6 < seconds(more) <= 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"language": "latin"}, "'latin'; choose from speechocean762, yoruba"),
        ({"pool": ["yoruba", "x"]}, "'x'.; name some of speechocean762"),
        ({"pool": []}, "pool is ..; name some of"),
        ({"pool": None}, "pool is None; name some of"),
        ({"minutes": "10"}, "minutes is '10'; give more than 0"),
        ({"minutes": 0}, "minutes is 0; give more than 0"),
        ({"minutes": True}, "minutes is True; give more than 0"),
        ({"minutes": 0.001}, "no utterance is that short"),
    ],
)
def test_options_that_cannot_be(data, options, said):
    with pytest.raises(UserError, match=said):
        prepare(str(data), **options)


def test_a_missing_split_is_named(data, tmp_path):
    make_lowresource(tmp_path)
    table = tmp_path / "yoruba" / "utterances.tsv"
    table.write_text(table.read_text().replace("\tval\t", "\tdev\t"))
    with pytest.raises(UserError, match="split 'val' is missing"):
        prepare(str(tmp_path), "yoruba")


@pytest.fixture
def planned(data, tmp_path):
    """Return a function that plans the training of a cell."""

    def plan(*cell):
        options = argparse.Namespace(
            output_folder=tmp_path,
            data_folder=str(data),
            workers=0,
        )
        return experiment.plan_finetuning(options, Cell(*cell), ["--x=1"])

    return plan


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
    assert "--x=1" in scratch.options
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
    cells = experiment.plan_cells(["swahili"], ["all"], 2)
    assert [cell.seed for cell in cells] == [1, 1, 1, 2, 2, 2]


def test_the_plan_may_be_a_part():
    everything = experiment.plan_cells(experiment.AMOUNTS, experiment.NAMES)
    assert len(everything) == len(set(everything)) == 24
    part = experiment.plan_cells(["swahili", "yoruba"], ["60min"])
    assert [cell.name for cell in part] == [
        f"yoruba-60min-{start}" for start in experiment.STARTS
    ]


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
    options = tuple(o.replace("--x=1", "--x=2") for o in training.options)
    other = experiment.Training(training.folder, "finetune.yaml", options, "a")
    other.begin()  # nothing was trained yet: a mistake may be mended
    training.begin()
    (training.folder / "checkpoints").mkdir()
    planned("swahili", None, "scratch").begin()
    with pytest.raises(UserError, match="with --x=1, now it is --x=2; give"):
        other.begin()


def call(data, tmp_path, *options):
    return experiment.main(
        [f"--data_folder={data}", f"--output_folder={tmp_path}/out", *options]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--finetune_stepps=3"], "unknown key 'stepps'; did you mean 'steps'"),
        (["--pretrain_model={heads: 0}"], "model: heads is 0; it must be a"),
        (
            ["--finetune_reinit_layers=99"],
            "reinit_layers is 99; it must be at m",
        ),
        (["--languages=swahili", "--amounts=60min"], "is no cell of the table"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(
    data, tmp_path, options, said
):
    with (
        mock.patch("subprocess.Popen", side_effect=AssertionError),
        pytest.raises(UserError, match=said),
    ):
        call(data, tmp_path, *options)
    assert not (tmp_path / "out" / "best_rq").exists()


def test_a_missing_matplotlib_is_told_before_anything_is_trained(
    data, tmp_path
):
    with (
        mock.patch.object(experiment, "find_spec", lambda name: None),
        mock.patch("subprocess.Popen", side_effect=AssertionError),
        pytest.raises(UserError, match="matplotlib, .*, is not installed; run"),
    ):
        call(data, tmp_path)


def test_what_failed_and_what_was_written_is_said(data, tmp_path, caplog):
    """Nothing was written where nothing is finished."""
    caplog.set_level("INFO")
    with mock.patch("subprocess.Popen"):
        assert call(data, tmp_path, "--amounts", "all") == 1
    assert "best_rq: failed; output.txt says why" in caplog.text
    assert "wrote" not in caplog.text


@pytest.mark.parametrize(
    "option",
    ["--data={a: 1}", "--lm=null", "--finetune_lm={a: 1}", "--objective=x"],
)
def test_options_of_the_experiment_are_not_overridden(option):
    with pytest.raises(UserError, match="is set by the experiment"):
        experiment.parse(["--data_folder=x", option])


def test_a_value_apart_from_its_option_is_refused():
    with pytest.raises(UserError, match="800: is no option; write --NAME=800"):
        experiment.parse(["--data_folder=x", "--finetune_steps", "800"])


def test_no_trainings_at_a_time_are_refused():
    with pytest.raises(UserError, match="jobs is 0"):
        experiment.parse(["--data_folder=x", "--jobs=0"])


def test_an_option_with_a_space_is_not_taken_for_a_language():
    """Nor is one of pre-training alone refused for fine-tuning's sake."""
    option = "--pretrain_data={workers: 4}"
    options, chosen = experiment.parse(
        ["--data_folder=x", "--languages", "yoruba", "swahili", option]
    )
    assert options.languages == ["yoruba", "swahili"]
    assert chosen == {"pretrain": ["--data={workers: 4}"], "finetune": []}


def test_other_options_go_to_every_training():
    options, chosen = experiment.parse(
        ["--data_folder=x", "--device=cpu", "--finetune_steps=3", "--peak_lr=1"]
    )
    assert options.data_folder == "x"
    assert chosen == {
        "pretrain": ["--device=cpu", "--peak_lr=1"],
        "finetune": ["--device=cpu", "--steps=3", "--peak_lr=1"],
    }


def finished(folder, greedy, beam):
    folder.mkdir(parents=True)
    modes = {
        "ctc_greedy": {"wer": greedy, "cer": greedy / 2},
        "beam5_lm": {"wer": beam, "cer": beam / 2},
    }
    (folder / "results.json").write_text(json.dumps({"test": modes}))
    (folder / "train_log.txt").write_text(
        "step: 5, skipped_steps: 0 - train ctc: 2.0, train loss: 2.0\n"
        "step: 5, skipped_steps: 0 - valid ctc: 2.0, valid wer: 1.000e+00\n"
        f"step: 10, skipped_steps: 0 - valid ctc: 1.5, valid wer: {greedy}\n"
    )


def test_the_report_compares_with_scratch_and_with_greedy(tmp_path):
    cells = [Cell("yoruba", 10, start) for start in ("scratch", "best_rq")]
    finished(tmp_path / cells[0].name, 0.8, 0.4)
    finished(tmp_path / cells[1].name, 0.4, 0.3)
    unfinished = Cell("yoruba", 60, "scratch")
    paths = report.write_report(tmp_path, [*cells, unfinished])
    assert all(path.is_file() for path in paths) and len(paths) == 3
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2:] == [
        "| yoruba | 10min | scratch | 1 | 80.0 (40.0) | 40.0 (20.0) "
        "|  | 50 % |",
        "| yoruba | 10min | best_rq | 1 | 40.0 (20.0) | 30.0 (15.0) "
        "| 50 % / 25 % | 25 % |",
    ]
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert numbers[cells[1].name]["wer"] == {"ctc_greedy": 0.4, "beam5_lm": 0.3}
    assert numbers[cells[1].name]["curve"] == [[5, 2.0, 1.0], [10, 1.5, 0.4]]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_become_a_mean_and_a_deviation(tmp_path):
    cells = [Cell("yoruba", 10, "scratch", seed) for seed in (1, 2)]
    finished(tmp_path / cells[0].name, 0.8, 0.4)
    finished(tmp_path / cells[1].name, 0.6, 0.4)
    best = Cell("yoruba", 10, "best_rq")
    finished(tmp_path / best.name, 0.35, 0.3)
    report.write_report(tmp_path, [*cells, best])
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2:] == [
        "| yoruba | 10min | scratch | 2 | 70.0 ± 14.1 (35.0) "
        "| 40.0 ± 0.0 (20.0) |  | 43 % |",
        "| yoruba | 10min | best_rq | 1 | 35.0 (17.5) | 30.0 (15.0) "
        "| 50 % / 25 % | 14 % |",
    ]
