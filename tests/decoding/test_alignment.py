import itertools

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
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
        for span in spans:
            own = log_probs[span.start : span.end, span.token]
            assert span.log_prob == pytest.approx(own.max().item())


def test_no_tokens_have_no_spans():
    assert align(torch.full((4, 3), 1 / 3).log(), []) == []
    assert align(torch.zeros(0, 3), []) == []


def test_too_many_tokens_are_refused_counting_repeats():
    log_probs = torch.full((3, 3), 1 / 3).log()
    assert len(align(log_probs, [1, 2, 1])) == 3
    with pytest.raises(UserError, match="3 tokens with 1 repeats .* 3 frames"):
        align(log_probs, [1, 1, 2])


def test_tokens_of_probability_zero_have_spans_too():
    log_probs = torch.tensor([[1.0, 0.0, 0.0]] * 4).log()
    spans = align(log_probs, [1, 2])
    assert [span.token for span in spans] == [1, 2]
    assert all(span.log_prob == -torch.inf for span in spans)


def test_nan_is_refused():
    with pytest.raises(UserError, match="NaN"):
        align(torch.full((3, 3), float("nan")), [1])


def test_words_of_characters_and_of_pieces():
    characters = CharTokenizer(" ab")
    ids = characters.encode("a ba")
    spans = [TokenSpan(t, 3 * i, 3 * i + 2, 0.0) for i, t in enumerate(ids)]
    words = word_times(spans, characters, 0.04)
    assert [word.text for word in words] == ["a", "ba"]
    times = [(word.start, word.end) for word in words]
    assert times == [(0.0, 0.08), (pytest.approx(0.24), pytest.approx(0.44))]

    class Pieces:
        pieces = ["<blank>", "▁th", "e", "▁cat"]

        def decode(self, ids):
            text = "".join(self.pieces[token] for token in ids)
            return text.replace("▁", " ").strip()

    spans = [TokenSpan(t, i, i + 1, 0.0) for i, t in enumerate([1, 2, 3])]
    words = word_times(spans, Pieces(), 1.0)
    assert [(w.text, w.start, w.end) for w in words] == [
        ("the", 0.0, 2.0),
        ("cat", 2.0, 3.0),
    ]


def pieces_of(text, frames=10):
    """Words of a text whose tokens are so many frames of 0.1 s apart."""
    tokenizer = CharTokenizer(set(text) | {" "})
    spans = [
        TokenSpan(token, frames * i, frames * i + 1, 0.0)
        for i, token in enumerate(tokenizer.encode(text))
    ]
    return word_times(spans, tokenizer, 0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天很好。", "今|天|很|好。"),
        ("开GPS2号 ok", "开|GPS2|号_ok"),
        ("ยินดี ใช่", "ยิ|น|ดี_ใช่"),
        ("안녕 abc", "안녕_abc"),
    ],
)
def test_scripts_without_spaces_have_words_of_a_character(text, expected):
    words = pieces_of(text, frames=2)
    shown = "".join("|_"[w.space_before] + w.text for w in words)
    assert shown == "_" + expected
    starts = [text.index(w.text[0]) * 0.2 for w in words]
    assert [w.start for w in words] == pytest.approx(starts)


def test_no_word_is_longer_than_a_line_or_a_cue():
    assert [w.text for w in pieces_of("abcdef", frames=13)] == ["abcdef"]
    assert [w.text for w in pieces_of("abcdef", frames=15)] == [*"abcdef"]
    assert len(pieces_of("a" * 42, frames=1)) == 1
    assert len(pieces_of("a" * 43, frames=1)) == 43


def test_spaces_alone_are_no_words():
    spaces = [TokenSpan(1, 0, 1, 0.0), TokenSpan(1, 2, 3, 0.0)]
    assert word_times(spaces, CharTokenizer(" a"), 1.0) == []


def test_a_confidence_is_the_geometric_mean_of_its_tokens(lattice):
    tokenizer = CharTokenizer(" abc")
    ids = tokenizer.encode("ab cab a")
    rng = np.random.default_rng(5)
    for _ in range(20):
        log_probs = lattice(20, tokenizer.size, rng, spread=2.0)
        spans = align(log_probs, ids)
        peaks = [
            log_probs[s.start : s.end, s.token].exp().max().item()
            for s in spans
        ]
        words = word_times(spans, tokenizer, 0.04)
        # a space is part of no word
        for word, (start, end) in zip(
            words, [(0, 2), (3, 6), (7, 8)], strict=True
        ):
            expected = np.prod(peaks[start:end]) ** (1 / (end - start))
            assert word.confidence == pytest.approx(expected)
            assert 0 <= word.confidence <= 1


def test_sure_frames_make_sure_words():
    tokenizer = CharTokenizer(" ab")
    ids = tokenizer.encode("ab a")
    logits = torch.zeros(2 * len(ids), tokenizer.size)
    logits[torch.arange(0, 2 * len(ids), 2), torch.tensor(ids)] = 30.0
    logits[1::2, 0] = 30.0
    sure, doubtful = logits.clone(), logits.clone()
    doubtful[0, ids[0]] = 0.0  # of the first word's first letter
    for scores, expected in [(sure, 1.0), (doubtful, 0.25**0.5)]:
        spans = align(scores.log_softmax(dim=1), ids)
        first, last = word_times(spans, tokenizer, 0.04)
        assert first.confidence == pytest.approx(expected)
        assert last.confidence == pytest.approx(1.0)
        assert max(first.confidence, last.confidence) <= 1.0
