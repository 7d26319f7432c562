import pytest

from nar_asr_lobes.evaluation.hot_recall import HotCounts, count_hot


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("take zantac now", "take zantac now", (1, 1, 0)),
        ("take zantac now", "take santak now", (1, 0, 0)),
        ("take it now", "take zantac now", (0, 0, 1)),
        ("zantac zantac zantac", "zantac zantac", (3, 2, 0)),
        ("zantac", "zantac zantac", (1, 1, 1)),
        ("new york city", "new york city", (2, 2, 0)),  # and "york city"
        ("new york city", "new york", (2, 1, 0)),
        ("new york", "new old york", (1, 0, 0)),
        ("new old york", "new york", (0, 0, 1)),
        ("zantacs", "zantac", (0, 0, 1)),
        ("zantac", "", (1, 0, 0)),
    ],
)
def test_occurrences(reference, hypothesis, counts):
    listed = ["zantac", "new york", "york city"]
    found = count_hot([reference], [hypothesis], listed)
    assert found == HotCounts(*counts)


def test_without_spaces_phrases_stand_anywhere():
    found = count_hot(
        ["今天天气很好", "很好"], ["今天天汽很好", "好"], ["天气", "很好"]
    )
    assert found == HotCounts(said=3, found=1, inserted=0)


def test_counts_are_summed_and_divided_once():
    listed = ["a", "b c"]
    found = count_hot(["a b c x", "a", "x"], ["a x c x", "a", "a"], listed)
    assert found == HotCounts(said=3, found=2, inserted=1)
    assert found.recall == pytest.approx(2 / 3)
