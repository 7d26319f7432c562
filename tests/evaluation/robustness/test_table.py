"""The table and the plot of a robustness run."""

from xml.etree import ElementTree

import pytest

from nar_asr_lobes.evaluation.robustness.table import (
    format_markdown,
    plot_robustness,
)


def row(errors, interval=True):
    rates = {"wer": errors / 20, "cer": errors / 40}
    ends = {
        f"{k}_interval": [x * 0.5, x * 1.5] if interval else None
        for k, x in rates.items()
    }
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0}
    return {**rates, **ends, **counts, "wer_to_clean": errors / 2}


@pytest.fixture
def results():
    noise = {f"pink-{db}dB": row(12 - db // 2) for db in (20, 10, 5, 0)}
    return {
        "headline": "wer",
        "conditions": {"clean": row(2), **noise, "8kHz": row(3, False)},
        "without_speech": {
            "silence": {"seconds": 600, "words": 2, "words_per_hour": 12.0}
        },
    }


def test_the_table_has_a_line_for_each_condition(results):
    lines = format_markdown(results).splitlines()
    cells = [[x.strip() for x in line.split("|")[1:-1]] for line in lines]
    assert {len(line) for line in cells} == {10}
    assert [line[0] for line in cells[2:]] == [
        *("clean", "pink-20dB", "pink-10dB", "pink-5dB", "pink-0dB"),
        *("8kHz", "silence"),
    ]
    assert cells[3][1:5] == ["10.00", "5.00 to 15.00", "1.00", "5.00"]
    assert cells[6][3] == "6.00" and cells[6][6] == "12"
    assert cells[7][2] == ""  # no interval of a single speaker
    assert cells[8][8:] == ["2", "12"]


def test_a_clean_set_without_errors_has_no_ratio(results):
    results["conditions"]["clean"]["wer_to_clean"] = None
    assert "| clean | 10.00 | 5.00 to 15.00 |  |" in format_markdown(results)


def test_the_plot_is_an_svg_that_shows_every_figure(results, tmp_path):
    plot_robustness(results, tmp_path / "a.svg")
    first = (tmp_path / "a.svg").read_bytes()
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    del results["conditions"]["pink-0dB"]
    plot_robustness(results, tmp_path / "b.svg")
    assert len((tmp_path / "b.svg").read_bytes()) < len(first)


def test_a_plot_without_noise(results, tmp_path):
    rows = results["conditions"]
    results["conditions"] = {"clean": rows["clean"]}
    plot_robustness(results, tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg")
