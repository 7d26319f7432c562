"""The alignments of the page against the scores and jiwer."""

import random

import jiwer
import numpy as np
import pytest

from nar_asr_lobes.evaluation.scoring import score_texts
from nar_asr_lobes.report.alignments import align_texts


def some_texts(rng, letters="a b c"):
    """Short texts of few words, so that they have much in common."""
    words = letters.split()
    return [
        " ".join(rng.choices(words, k=rng.randrange(8))) for _ in range(200)
    ]


def test_counts_are_those_of_the_scores():
    rng = random.Random(1)
    references, hypotheses = some_texts(rng), some_texts(rng)
    _, counts = align_texts(references, hypotheses)
    scores = score_texts(references, hypotheses).counts
    names = ("words", "substitutions", "deletions", "insertions")
    expected = np.stack([scores[name] for name in names], axis=1)
    assert counts == expected.tolist()


@pytest.mark.parametrize("has_words", [True, False])
def test_both_texts_can_be_read_from_an_alignment(has_words):
    rng = random.Random(2)
    references, hypotheses = some_texts(rng), some_texts(rng)
    space = " " if has_words else ""
    aligned, counts = align_texts(references, hypotheses, has_words=has_words)
    for said, heard, row in zip(references, hypotheses, aligned, strict=True):
        sides = [
            space.join(
                text
                for part in row
                for text in [part if isinstance(part, str) else part[side]]
                if text
            )
            for side in (0, 1)
        ]
        assert sides == [said, heard]
    process = jiwer.process_words if has_words else jiwer.process_characters
    found = process(references, hypotheses)
    assert np.sum(counts, axis=0)[1:].tolist() == [
        *(found.substitutions, found.deletions, found.insertions)
    ]


def test_the_chosen_wording_is_aligned():
    aligned, _ = align_texts(["{Going to/GONNA} sleep"], ["gonna"], str.lower)
    assert aligned == [["gonna", ["sleep", ""]]]
