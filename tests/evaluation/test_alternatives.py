"""The chosen wording has as few errors as the best of all wordings."""

import itertools
import random
import re

import jiwer
import pytest

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.evaluation.alternatives import choose_alternatives


def errors(reference, hypothesis):
    found = jiwer.process_words(" ".join(reference.split()), hypothesis)
    return found.substitutions + found.deletions + found.insertions


def wordings(reference):
    """Every wording that a reference allows."""
    parts = re.split(r"\{(.*?)\}", reference)
    options = [p.split("/") if i % 2 else [p] for i, p in enumerate(parts)]
    return [" ".join(chosen) for chosen in itertools.product(*options)]


def test_no_other_wording_has_fewer_errors():
    rng = random.Random(0)
    for _ in range(300):
        parts = []
        for _ in range(rng.randint(1, 5)):
            words = [
                " ".join(rng.choices("abc", k=rng.randint(0, 2)))
                for _ in range(rng.randint(1, 3))
            ]
            parts.append(f"{{{'/'.join(words)}}}" if words[1:] else words[0])
        reference = " ".join(parts)
        hypothesis = " ".join(rng.choices("abc", k=rng.randint(0, 6)))
        chosen = choose_alternatives(reference, hypothesis)
        possible = [" ".join(text.split()) for text in wordings(reference)]
        assert " ".join(chosen.split()) in possible
        fewest = min(errors(text, hypothesis) for text in possible)
        assert errors(chosen, hypothesis) == fewest, (reference, hypothesis)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "chosen"),
    [
        ("I {can't/can not} go", "i can not go", "i can not go"),
        ("{uh/} yes", "yes", "yes"),
        ("{uh/} yes", "uh yes", "uh yes"),
        ("{a/b} c", "c", "a c"),  # the first of equally good ones
        ("no {braces} here", "no here", "no braces here"),
    ],
)
def test_alternatives(reference, hypothesis, chosen):
    def normalize(text):
        return normalize_text(text, "english")

    assert choose_alternatives(reference, hypothesis, normalize) == chosen
