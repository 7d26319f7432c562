"""Tables of texts that were compared."""

from collections import Counter

from nar_asr_lobes.evaluation.bootstrap import Comparison, Interval
from nar_asr_lobes.evaluation.scoring import score_texts, summarize
from nar_asr_lobes.evaluation.text_report import (
    format_comparison,
    format_errors,
    format_figures,
    frequent_errors,
)


def test_rates_that_are_not_defined_are_a_dash():
    table = format_figures({"all": summarize(score_texts([""], ["oh"]))})
    cells = table.splitlines()[1].split()
    assert cells == ["all", *"-----", "1", "0", "0", "0", "1"]


def test_the_most_frequent_errors_come_first_in_a_fixed_order():
    errors = Counter(
        {
            ("b", "c"): 2,
            ("a", "c"): 2,
            ("a", "b"): 5,
            ("x", ""): 1,
            ("", "y"): 3,
        }
    )
    found = frequent_errors(errors, 2)
    assert found == {
        "substitutions": [["a", "b", 5], ["a", "c", 2]],
        "deletions": [["x", "", 1]],
        "insertions": [["", "y", 3]],
    }
    assert format_errors(found).splitlines()[0] == "substitutions  times"
    assert format_errors(frequent_errors(errors, 0)) == ""


def test_a_comparison_without_interval():
    found = Comparison(Interval(-0.1, None, None), Interval(0.5, None, None), 1)
    row = {"wer": 0.2}, {"wer": 0.1}
    table = format_comparison(*row, {"wer": found})
    cells = table.splitlines()[1].split()
    assert cells == ["WER", "20.00", "10.00", "-10.00", "50.0", "1.000"]
