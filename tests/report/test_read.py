"""Reports of runs, evaluations, comparisons and tests of robustness."""

import json

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from nar_asr_lobes.report.read import read_report
from tests.report.output_folders import TEXTS, word_times, write_run


def test_a_run_has_figures_with_intervals_groups_and_curves(run_folder):
    report = read_report(run_folder)
    [found] = report.sets
    assert (found.name, found.has_words) == ("test", True)
    assert found.notes == [
        "5 of 6 utterances could be scored.",
        "Intervals from resampled speakers (2).",
    ]
    assert [system.name for system in found.systems] == ["ctc_greedy", "beam5"]
    system = found.systems[0]
    _, said, heard = zip(*TEXTS, strict=True)
    speakers = ["s0", "s1", "s0", "s1", "s0"]
    expected = summarize(score_texts(said, heard), speakers)
    measured = {"rtf": 0.25, "oracle_wer": 0.125}
    assert system.figures == expected | measured
    low, high = system.figures["wer_interval"]
    assert low < system.figures["wer"] < high
    groups = system.groups["speaker"]
    assert sum(row["words"] for row in groups.values()) == expected["words"]
    assert list(system.groups) == ["speaker"]  # all have one length
    assert [row.id for row in found.rows] == [row[0] for row in TEXTS]
    assert system.words == [word_times(text) for text in heard]
    assert [curve.name for curve in report.curves] == ["loss"]
    assert report.curves[0].valid == [[10, 2.9]]


def test_columns_of_the_manifest_are_groups(tmp_path):
    folder = write_run(tmp_path / "run", groups={"accent": "x"})
    path = folder / "manifests" / "test.jsonl"
    text = path.read_text().replace('"accent": "x"', '"accent": "y"', 1)
    path.write_text(text.replace('"duration": 1.5', '"duration": 7.5', 1))
    groups = read_report(folder).sets[0].systems[1].groups
    sizes = {
        column: {
            name: row["utterances"] for name, row in groups[column].items()
        }
        for column in groups
    }
    assert sizes == {
        "accent": {"x": 4, "y": 1},
        "duration": {"< 2": 4, "5 to < 10": 1},
        "speaker": {"s0": 3, "s1": 2},
    }


def test_characters_are_aligned_without_spaces(tmp_path):
    texts = [("a", "今天天气很好", "今天气很号"), ("b", "很好", "很好")]
    folder = write_run(tmp_path / "run", texts, headline="cer")
    [found] = read_report(folder).sets
    assert not found.has_words
    aligned = found.systems[0].texts[0]
    assert (
        "".join(p if isinstance(p, str) else p[0] for p in aligned)
        == (texts[0][1])
    )
    assert found.systems[0].counts == [[6, 1, 1, 0], [2, 0, 0, 0]]


def test_the_overlap_of_the_splits_is_told(run_folder):
    rows = [{"splits": ["train", "test"], "speakers": 0, "texts": 3}]
    (run_folder / "overlap.json").write_text(json.dumps(rows))
    told = ["Overlap of train and test: speakers 0, texts 3."]
    assert read_report(run_folder).notes == told


def test_a_run_of_an_earlier_version_has_its_figures(run_folder):
    (run_folder / "alignments" / "test" / "beam5.jsonl").unlink()
    [found] = read_report(run_folder).sets
    assert found.systems[0].figures["wer"] == 0.5
    assert (found.rows, found.systems[0].texts) == ([], [])
    assert "evaluate the bundle again" in found.notes[-1]


def test_a_pretraining_has_curves_only(run_folder):
    (run_folder / "results.json").unlink()
    report = read_report(run_folder)
    assert (len(report.curves), report.sets) == (1, [])


def test_an_evaluation(evaluated):
    path = evaluated("evaluate", "v1.0.txt", "--by", "speaker")
    record = json.loads(path.read_text())
    [found] = read_report(path).sets
    [system] = found.systems
    assert (found.name, system.name) == ("ref.tsv", "v1.0.txt")
    assert system.figures == record["all"]
    assert system.groups == record["groups"]
    assert system.errors == record["errors"]
    assert system.texts == [["no breast", ["pain", "pan"]], [["yes", ""]]]
    assert found.notes == [
        "Normaliser english, version 2; matched by id; intervals from "
        "resampled speakers.",
        "v1.0.txt: 1 references without hypothesis, counted as deletions; 0 "
        "hypotheses without reference, left out.",
    ]


def test_a_comparison(evaluated):
    path = evaluated("compare", "v1.0.txt", "v1.1.txt")
    [found] = read_report(path).sets
    assert [system.name for system in found.systems] == ["v1.0.txt", "v1.1.txt"]
    assert found.best == 1
    assert found.systems[1].texts == [["no chest pain"], ["yes"]]
    assert any(
        note.startswith("WER of B minus A: -50.00 (")
        and note.endswith("probability that B is better: 1.000.")
        for note in found.notes
    )


def test_references_without_words_have_no_rate(evaluated, tmp_path):
    (tmp_path / "ref.tsv").write_text("id\ttext\nu1\t\nu2\t\n")
    [found] = read_report(evaluated("evaluate", "v1.1.txt")).sets
    assert (found.best, found.systems[0].figures["wer"]) == (0, None)
    assert found.systems[0].counts == [[0, 0, 0, 3], [0, 0, 0, 1]]


def test_texts_beside_the_result_are_found(evaluated, tmp_path, monkeypatch):
    path = evaluated("evaluate", "v1.0.txt")
    for name in ("ref.tsv", "v1.0.txt"):
        (tmp_path / name).rename(path.parent / name)
    monkeypatch.chdir("/")
    assert len(read_report(path).sets[0].rows) == 2


def test_texts_are_read_with_the_spellings_of_the_figures(evaluated, tmp_path):
    (tmp_path / "same.tsv").write_text("pan\tpain\n")
    path = evaluated("evaluate", "v1.0.txt", "--spellings", "same.tsv")
    [found] = read_report(path).sets
    assert found.systems[0].texts == [["no breast pain"], [["yes", ""]]]


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_texts_that_are_gone_or_changed_are_noted(evaluated, tmp_path, change):
    path = evaluated("evaluate", "v1.0.txt")
    (tmp_path / "v1.0.txt").unlink()
    if change == "changed":
        (tmp_path / "v1.0.txt").write_text("u1\tno breast pain\n")
    [found] = read_report(path).sets
    assert found.systems[0].figures["word_errors"] == 2
    assert (found.rows, found.systems[0].texts) == ([], [])
    expected = {"gone": "cannot be read", "changed": "1 errors, the figures 2"}
    assert found.notes[-1].startswith("No utterances: ")
    assert expected[change] in found.notes[-1]


def test_audio_of_a_table_and_word_times_of_hypotheses(evaluated, tmp_path):
    lines = ["id\taudio\tduration\ttext", "u1\ta.wav\t2.5\tno", "u2\t\t\tyes"]
    (tmp_path / "ref.tsv").write_text("\n".join(lines) + "\n")
    row = {"id": "u1", "text": "no", "words": [[0.1, 0.2, "no"]]}
    (tmp_path / "hyp.jsonl").write_text(json.dumps(row) + "\n")
    [found] = read_report(evaluated("evaluate", "hyp.jsonl")).sets
    first, second = found.rows
    assert (first.utterance.audio, first.utterance.duration) == ("a.wav", 2.5)
    assert second.utterance is None
    assert found.systems[0].words == [[[0.1, 0.2, "no"]], None]


def test_robustness_has_a_row_for_each_condition(tmp_path):
    rows = {
        name: summarize(score_texts(["a b", "c d"], texts))
        for name, texts in (("clean", ["a b", "c"]), ("white-0dB", ["a", ""]))
    }
    alone = {"silence": {"seconds": 600, "words": 2, "words_per_hour": 12.0}}
    record = {"headline": "wer", "resampled": "utterance", "conditions": rows}
    record["without_speech"] = alone
    (tmp_path / "results.json").write_text(json.dumps(record))
    [found] = read_report(tmp_path).sets
    assert [s.figures["wer"] for s in found.systems] == [0.25, 0.75]
    assert "silence alone, 600 s: 2 words made up, 12 an hour." in found.notes


@pytest.mark.parametrize("text", [None, "", "[1]", "{", '{"test": {}}', "3"])
def test_a_folder_without_results_is_refused_in_a_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="give an output folder of train.py"):
        read_report(tmp_path)
