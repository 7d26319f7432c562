"""The low-resource experiment: its splits, its plan and its report."""

import json
import sys
from dataclasses import replace
from unittest import mock

import pytest

from nar_asr_lobes.dataio.manifest import write_manifest
from nar_asr_lobes.errors import UserError
from tests.recipes.librispeech_tree import make_lowresource
from tests.recipes.running import RECIPES, parser

prepare = parser("LowResource")
with mock.patch.object(sys, "path", [str(RECIPES / "LowResource"), *sys.path]):
    import experiment
    import lowresource_plan as plans
    import lowresource_report as report
    from lowresource_prepare import OTHERS, romanize

Cell = report.Cell


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_lowresource(tmp_path_factory.mktemp("data"))


def ids(rows):
    return {row.id for row in rows}


@pytest.mark.parametrize("language", plans.AMOUNTS)
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


@pytest.mark.parametrize("language", plans.AMOUNTS)
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
        ({"others": ["arabic_commands"]}, "others is ..a.*; name some of"),
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


def test_the_rest_of_train_is_unlabelled(data):
    """Its halves are all of it, and no text is left."""
    splits = prepare(str(data), "yoruba", 0.2)
    everything = prepare(str(data), "yoruba")["train"]
    rest = splits["unlabelled"]
    assert ids(rest) == ids(everything) - ids(splits["train"])
    assert rest and not any(row.text for row in rest)
    halves = [
        ids(prepare(str(data), "yoruba", 0.2, half=half)["unlabelled"])
        for half in (0, 1)
    ]
    assert all(halves) and not halves[0] & halves[1]
    assert halves[0] | halves[1] == ids(rest)


@pytest.mark.parametrize("language", plans.AMOUNTS)
def test_the_other_languages_have_none_of_the_target(data, language):
    splits = prepare(str(data), language, others=OTHERS)
    train, dev = list(splits["others"]), list(splits["others_dev"])
    names = [{row.id.partition("-")[0] for row in x} for x in (train, dev)]
    assert names[0] == names[1] == {*plans.AMOUNTS, "kathleen_en"} - {language}
    assert not ids(train) & ids(dev) and len(dev) < len(train)
    letters = set("".join(row.text for row in train + dev))
    assert letters <= set("abcdefghijklmnopqrstuvwxyz' ")


def test_no_test_or_dev_speech_of_another_language_is_trained_on(data):
    """A language may be the target of the next experiment."""
    heard = {row.audio for row in prepare(str(data), "yoruba")["others"]}
    for language in ("speechocean762", "swahili"):
        splits = prepare(str(data), language)
        for name in ("dev", "test"):
            assert not heard & {row.audio for row in splits[name]}


def test_letters_become_those_of_one_alphabet():
    assert romanize("Ọ̀RẸ́ ńlá – “ṣé”, don’t!") == "ore nla se don't"
    assert romanize("أمام") == ""


@pytest.fixture
def labels(data, tmp_path):
    """Labels of the rest of train, as label.yaml writes them."""
    rest = prepare(str(data), "yoruba", 0.2)["unlabelled"]
    path = tmp_path / "labels.jsonl"
    rows = [replace(row, text=f"label {row.id}") for row in rest]
    write_manifest(path, rows, data)
    return path, rows


def test_labels_are_a_split(data, labels):
    path, rows = labels
    for given in (str(path), [str(path)]):
        splits = prepare(str(data), "yoruba", 0.2, labels=given)
        assert list(splits["pseudo"]) == rows


def test_mixed_are_labels_and_as_much_of_train(data, labels):
    path, rows = labels
    splits = prepare(str(data), "yoruba", 0.1, labels=str(path))
    mixed, train = list(splits["mixed"]), splits["train"]
    assert len(ids(mixed)) == len(mixed) and mixed[: len(rows)] == rows
    true = mixed[len(rows) :]
    assert {row.text for row in true} == {row.text for row in train}
    seconds = [sum(x.duration for x in some) for some in (true, rows, train)]
    assert abs(seconds[0] - seconds[1]) <= seconds[2] / 2


def test_a_split_of_labels_needs_them(data):
    with pytest.raises(UserError, match="labels is missing; name the labels"):
        list(prepare(str(data), "yoruba")["pseudo"])


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
    assert chosen.pop("pretrain") == ["--data={workers: 4}"]
    assert not any(chosen.values())


def test_other_options_go_to_every_training():
    """Labelling trains nothing and takes only those that it has."""
    options, chosen = experiment.parse(
        ["--data_folder=x", "--device=cpu", "--gold_steps=3", "--peak_lr=1"]
    )
    assert options.data_folder == "x"
    assert chosen.pop("gold") == ["--device=cpu", "--steps=3", "--peak_lr=1"]
    assert chosen.pop("label") == ["--device=cpu"]
    assert set(chosen) == {"pretrain", "transfer", "finetune", "selftrain"}
    assert all(x == ["--device=cpu", "--peak_lr=1"] for x in chosen.values())


def test_the_error_rate_of_labels_is_logged(data, tmp_path, caplog):
    """One word too many in each utterance, in one of two sets of labels."""
    caplog.set_level("INFO")
    rest = prepare(str(data), "yoruba", 0.2)["unlabelled"]
    texts = {row.id: row.text for row in prepare(str(data), "yoruba")["train"]}
    for name, more in (("scratch", ""), ("selftrain", " or")):
        rows = [replace(row, text=texts[row.id] + more) for row in rest]
        path = tmp_path / f"yoruba-10min-{name}-labels" / "labels.jsonl"
        write_manifest(path, rows, data)
    words = sum(len(texts[row.id].split()) for row in rest)
    experiment.log_label_errors(tmp_path, data)
    said = "".join(caplog.messages)
    assert "scratch-labels/labels.jsonl: labels of 0.0 % WER" in said
    assert f"labels of {100 * len(rest) / words:.1f} % WER" in said


def finished(folder, greedy, beam):
    folder.mkdir(parents=True)
    modes = {
        "ctc_greedy": {"wer": greedy, "cer": greedy / 2},
        "beam5_lm": {"wer": beam, "cer": beam / 2},
    }
    results = {"test": modes, "dev": modes}
    (folder / "results.json").write_text(json.dumps(results))
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
        "|  | 50 % | 40.0 |",
        "| yoruba | 10min | best_rq | 1 | 40.0 (20.0) | 30.0 (15.0) "
        "| 50 % / 25 % | 25 % | 30.0 |",
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
        "| 40.0 ± 0.0 (20.0) |  | 43 % | 40.0 |",
        "| yoruba | 10min | best_rq | 1 | 35.0 (17.5) | 30.0 (15.0) "
        "| 50 % / 25 % | 14 % | 30.0 |",
    ]
