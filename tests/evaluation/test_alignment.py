"""The alignment of terms has the fewest errors and follows its rule."""

import random

import jiwer
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.alignment import align_words


def random_words(rng, longest=9):
    return rng.choices("abcd", k=rng.randint(0, longest))


def test_as_many_errors_as_jiwer_counts():
    rng = random.Random(0)
    for _ in range(1000):
        said, heard = random_words(rng), random_words(rng)
        pairs = align_words(said, heard)
        assert [a for a, _ in pairs if a] == said
        assert [b for _, b in pairs if b] == heard
        found = jiwer.process_words(" ".join(said), " ".join(heard))
        errors = found.substitutions + found.deletions + found.insertions
        assert sum(a != b for a, b in pairs) == errors


@pytest.mark.parametrize(
    ("said", "heard", "pairs"),
    [
        # one substitution and a deletion: the later word is substituted
        ("a b", "c", [("a", ""), ("b", "c")]),
        ("a", "b c", [("", "b"), ("a", "c")]),
        # equal words at the end go together although an earlier fits as well
        (
            "pain",
            "pain and pain",
            [("", "pain"), ("", "and"), ("pain", "pain")],
        ),
        # a substitution and an equal word rather than gaps around one
        ("a b c", "b x c", [("a", "b"), ("b", "x"), ("c", "c")]),
    ],
)
def test_ties_follow_the_rule(said, heard, pairs):
    assert align_words(said.split(), heard.split()) == pairs


def test_texts_above_the_memory_are_refused():
    with pytest.raises(UserError, match="40000 words cannot be aligned with"):
        align_words(["a"] * 40_000, ["b"] * 40_000)
