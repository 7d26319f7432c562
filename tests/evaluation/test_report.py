"""The table over modes, as text and as numbers."""

import json
from dataclasses import replace

import pytest

from nar_asr_lobes.evaluation.metrics import HotCounts, score
from nar_asr_lobes.evaluation.report import ModeResult, format_table, to_dict


def result(mode, hypothesis, seconds=1.0):
    counts = score(["u1"], ["no chest pain today"], [hypothesis])
    return ModeResult(mode, counts, seconds, audio_seconds=8.0)


RESULTS = [
    result("ctc_greedy", "no chess pane", seconds=0.4),
    result("nar_beam5_lm", "no chest pain today", seconds=0.8),
]


def test_table_has_a_line_for_each_mode_in_order():
    header, greedy, rescored, scored = format_table(RESULTS).splitlines()
    assert header.split() == "mode WER % S D I words CER % RTF".split()
    assert greedy.split()[:6] == ["ctc_greedy", "75.00", "2", "1", "0", "4"]
    assert greedy.split()[-1] == "0.050"
    assert rescored.split() == (
        ["nar_beam5_lm", "0.00", "0", "0", "0", "4", "0.00", "0.100"]
    )
    assert scored == "1 of 1 utterances scored"


def test_what_was_not_scored_is_counted():
    some = [replace(result, left_out=2) for result in RESULTS]
    assert format_table(some).splitlines()[-1] == (
        "1 of 3 utterances scored; left_out.txt names the others"
    )
    numbers = to_dict(some)["ctc_greedy"]
    assert (numbers["utterances"], numbers["utterances_in_all"]) == (1, 3)


def test_without_spaces_characters_come_first():
    counts = score(["u1"], ["今天天气很好"], ["今天天汽很好"])
    results = [ModeResult("nar", counts, 1.0, 8.0)]
    header, row, _ = format_table(results).splitlines()
    assert header.split() == "mode CER % errors characters WER % RTF".split()
    assert row.split() == ["nar", "16.67", "1", "6", "100.00", "0.125"]
    assert to_dict(results)["nar"]["headline"] == "cer"
    assert to_dict(RESULTS)["ctc_greedy"]["headline"] == "wer"


def test_columns_are_aligned():
    lines = format_table(RESULTS).splitlines()[:-1]
    assert len({len(line) for line in lines}) == 1
    assert lines[1].index("75.00") - lines[2].index("0.00") == -1


def test_numbers_are_fractions_and_survive_json():
    numbers = json.loads(json.dumps(to_dict(RESULTS)))
    assert list(numbers) == ["ctc_greedy", "nar_beam5_lm"]
    greedy = numbers["ctc_greedy"]
    assert greedy["wer"] == 0.75
    assert greedy["cer"] == pytest.approx(RESULTS[0].counts.cer)
    assert greedy["rtf"] == pytest.approx(0.05)
    assert greedy["utterances"] == greedy["wrong_utterances"] == 1
    assert [
        greedy[name] for name in ("words", "hits", "substitutions", "deletions")
    ] == [4, 1, 2, 1]
    assert numbers["nar_beam5_lm"]["wrong_utterances"] == 0


def test_hot_words_have_columns_and_numbers_where_there_is_a_list():
    listed = [replace(RESULTS[0], hot=HotCounts(said=4, found=3, inserted=1))]
    header, greedy, _ = format_table(listed).splitlines()
    assert header.split()[-4:] == ["hot", "said", "found", "inserted"]
    assert greedy.split()[-3:] == ["4", "3", "1"]
    numbers = to_dict(listed)["ctc_greedy"]
    assert numbers["hot_recall"] == 0.75 and numbers["hot_inserted"] == 1
    assert not any("hot" in name for name in to_dict(RESULTS)["ctc_greedy"])


def test_a_mode_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        to_dict([RESULTS[0], RESULTS[0]])


@pytest.mark.parametrize(("seconds", "audio"), [(1.0, 0.0), (float("nan"), 2)])
def test_unmeasured_times_are_refused(seconds, audio):
    with pytest.raises(ValueError, match="mode nar"):
        ModeResult("nar", RESULTS[0].counts, seconds, audio)


def test_the_oracle_stands_beside_the_modes_that_have_one():
    greedy, beam = RESULTS
    oracle = score(["u1"], ["no chest pain today"], ["no chest pain tody"])
    results = [greedy, replace(beam, oracle=oracle)]
    header, first, second, _ = format_table(results).splitlines()
    assert header.endswith("oracle WER %")
    assert first.split()[-1] == "-" and second.split()[-1] == "25.00"
    numbers = to_dict(results)
    assert "oracle_wer" not in numbers["ctc_greedy"]
    assert numbers["nar_beam5_lm"]["oracle_wer"] == 0.25
