import itertools

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.alignment import TokenSpan, align, word_times
from nar_asr_lobes.errors import UserError


def best_path(log_probs, tokens):
    """Find the most probable of all paths that spell the tokens."""
    rows, best = log_probs.tolist(), (-np.inf, None)
    for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
        runs = itertools.groupby(path)
        if [label for label, _ in runs if label] == tokens:
            score = sum(r[label] for r, label in zip(rows, path, strict=True))
            best = max(best, (score, path))
    return best[1]


@pytest.mark.parametrize("tokens", [[1], [2, 1], [1, 1], [1, 2, 1]])
def test_spans_lie_on_the_best_of_all_paths(lattice, tokens):
    rng = np.random.default_rng(sum(tokens))
    for _ in range(20):
        log_probs = lattice(5, 3, rng, spread=2.0)
        spans = align(log_probs, tokens)
        path = [0] * 5
        for span in spans:
            path[span.start : span.end] = [span.token] * (span.end - span.start)
        assert tuple(path) == best_path(log_probs, tokens)
        assert [span.token for span in spans] == tokens


def test_no_tokens_have_no_spans():
    assert align(torch.full((4, 3), 1 / 3).log(), []) == []
    assert align(torch.zeros(0, 3), []) == []


def test_too_many_tokens_are_refused_counting_repeats():
    log_probs = torch.full((3, 3), 1 / 3).log()
    assert len(align(log_probs, [1, 2, 1])) == 3
    with pytest.raises(UserError, match="3 tokens with 1 repeats .* 3 frames"):
        align(log_probs, [1, 1, 2])


def test_nan_is_refused():
    with pytest.raises(UserError, match="NaN"):
        align(torch.full((3, 3), float("nan")), [1])


def test_words_of_characters_and_of_pieces():
    characters = CharTokenizer(" ab")
    ids = characters.encode("a ba")
    spans = [TokenSpan(t, 3 * i, 3 * i + 2) for i, t in enumerate(ids)]
    words = word_times(spans, characters, 0.04)
    assert [word.text for word in words] == ["a", "ba"]
    times = [(word.start, word.end) for word in words]
    assert times == [(0.0, 0.08), (pytest.approx(0.24), pytest.approx(0.44))]

    class Pieces:
        pieces = ["<blank>", "▁th", "e", "▁cat"]

        def decode(self, ids):
            text = "".join(self.pieces[token] for token in ids)
            return text.replace("▁", " ").strip()

    spans = [TokenSpan(t, i, i + 1) for i, t in enumerate([1, 2, 3])]
    words = word_times(spans, Pieces(), 1.0)
    assert [(w.text, w.start, w.end) for w in words] == [
        ("the", 0.0, 2.0),
        ("cat", 2.0, 3.0),
    ]


def test_spaces_alone_are_no_words():
    spaces = [TokenSpan(1, 0, 1), TokenSpan(1, 2, 3)]
    assert word_times(spaces, CharTokenizer(" a"), 1.0) == []
