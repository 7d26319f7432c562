"""Negations counted by hand."""

import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.negations import read_negations
from nar_asr_lobes.evaluation.scoring import (
    compare_scores,
    score_texts,
    summarize,
)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [  # negations, substitutions, deletions, insertions
        ("no chest pain", "no chest pain", (1, 0, 0, 0)),
        ("no chest pain", "chest pain", (1, 0, 1, 0)),
        ("no chest pain", "now chest pain", (1, 1, 0, 0)),
        ("no chest pain", "not chest pain", (1, 1, 0, 0)),
        ("now chest pain", "no chest pain", (0, 0, 0, 1)),
        ("chest pain", "no chest pain", (0, 0, 0, 1)),
        ("she denies it", "she denied it", (1, 1, 0, 0)),
        ("I don’t and won't", "I don’t and will", (2, 1, 0, 0)),
        ("No pain. NEVER", "No pain. NEVER", (2, 0, 0, 0)),
        ("", "without", (0, 0, 0, 1)),
        ("knot nor", "knot", (1, 0, 1, 0)),
    ],
)
def test_by_hand(reference, hypothesis, counts):
    scores = score_texts([reference], [hypothesis], negations=read_negations())
    kinds = ("negations", "substitutions", "deletions", "insertions")
    assert tuple(int(scores.negations[x][0]) for x in kinds) == counts
    assert int(scores.negations["errors"][0]) == sum(counts[1:])


def test_the_rate_has_an_interval_and_two_systems_compare():
    said = ["no pain", "not now", "pain"] * 9
    a = score_texts(said, ["pain"] * 27, negations=read_negations())
    b = score_texts(said, said, negations=read_negations())
    found = summarize(a)["negations"]
    assert (found["negations"], found["rate"]) == (18, 1.0)
    assert found["rate_interval"] is not None
    assert summarize(b)["negations"]["rate"] == 0
    assert compare_scores(a, b)["negations"].fewer.value == 1


def test_a_list_of_the_user(tmp_path):
    path = tmp_path / "sw.txt"
    path.write_text("si\n\nHapana\n", encoding="utf-8")
    found = read_negations(str(path))
    assert found.words == {"si", "hapana"}
    assert found.name == "sw.txt" and found.version.startswith("sha256 ")
    assert found.count([("hapana", ""), ("no", "")])["deletions"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("no\nnot any\n", "no.txt:2: has several words; "), ("\n", "no word")],
)
def test_faulty_lists_are_refused(tmp_path, text, said):
    path = tmp_path / "no.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_negations(str(path))
