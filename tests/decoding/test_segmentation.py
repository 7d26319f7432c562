"""Sentences in long recordings, against an exhaustive search and by size."""

import itertools
import tracemalloc

import numpy as np
import pytest

from nar_asr_lobes.decoding import segmentation
from nar_asr_lobes.decoding.segmentation import _search, place_sentences

FILLER, INSIDE = segmentation._FILLER, segmentation._INSIDE
TOKEN = segmentation._TOKEN


def collapse(labels):
    return [k for k, _ in itertools.groupby(labels) if k != 0]


def ctc(values, tokens):
    """Score of the best path that begins and ends with a token."""
    frames, size = values.shape
    scores = [
        sum(values[range(frames), labels])
        for labels in itertools.product(range(size), repeat=frames)
        if labels[0] and labels[-1] and collapse(labels) == tokens
    ]
    return max(scores, default=-np.inf)


def total(values, sentences, placed):
    """Score of placements (sentence, start, end)."""
    gap = np.maximum(values[:, 0], -FILLER)
    score, free = 0.0, np.ones(len(values), bool)
    for k, start, end in placed:
        score += ctc(values[start:end], sentences[k])
        score += TOKEN * len(sentences[k]) - INSIDE * (end - start)
        free[start:end] = False
    return score + gap[free].sum()


def all_placements(frames, count):
    """Every way to place an ordered subset of the sentences."""
    for size in range(count + 1):
        for chosen in itertools.combinations(range(count), size):
            for edges in itertools.combinations_with_replacement(
                range(frames + 1), 2 * size
            ):
                yield list(zip(chosen, edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_the_best_placement_of_all(seed):
    """Sentences that are skipped, of equal tokens, with nothing between."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4, size=(5, 3))
    values = logits - logits.max(axis=1, keepdims=True)
    values = values.astype(np.float32)
    sentences = [
        rng.integers(1, 3, size=rng.integers(1, 3)).tolist() for _ in range(2)
    ]
    found, _ = _search(values, sentences, None)
    best = max(
        total(values, sentences, placed)
        for placed in all_placements(5, 2)
        if all(start < end for _, start, end in placed)
    )
    assert total(values, sentences, found) == pytest.approx(best, abs=1e-4)


def recording(seed, count, size=30, wrong=0.15, untold=range(0)):
    """Posteriors of sentences, some foreign or missing; the true places.

    Of the sentences `untold`, none is in the text.
    """
    rng = np.random.default_rng(seed)
    labels, text, places = [], [], {}
    for number in range(count):
        labels += [0] * int(rng.integers(5, 20))
        start = len(labels)
        tokens = rng.integers(1, size, size=rng.integers(15, 30)).tolist()
        for token in tokens:
            labels += [token, 0]
        kind = rng.random()
        if kind > 0.1 and number not in untold:
            places[len(text)] = start, len(labels) - 1
            text.append(tokens)
        if kind > 0.9:
            text.append(rng.integers(1, size, size=20).tolist())
    labels += [0] * 10
    noise = rng.normal(size=(len(labels), size))
    logits = noise + 12 * np.eye(size)[labels]
    # some of the tokens are recognised wrongly
    mistaken = rng.random(len(labels)) < wrong
    logits[mistaken] = 3 * rng.normal(size=(mistaken.sum(), size))
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return log_probs.astype(np.float16), text, places


@pytest.mark.parametrize("window", [400, 9000])
def test_all_that_was_spoken_is_found_and_nothing_else(window):
    log_probs, text, places = recording(0, 60)
    found = {
        row.sentence: (row.start, row.end)
        for row in place_sentences(log_probs, text, window=window)
    }
    assert len(text) > len(places) and window > 60  # some are foreign
    assert found.keys() == places.keys()
    edges = [np.subtract(found[k], places[k]) for k in places]
    assert (np.abs(edges) <= 4).mean() > 0.95


def test_badly_heard_sentences_take_the_audio_between_their_neighbours():
    log_probs, text, places = recording(0, 60, wrong=0.35)
    found = {row.sentence: row for row in place_sentences(log_probs, text)}
    assert found.keys() == places.keys()
    edges = [(found[k].start, found[k].end) for k in places]
    errors = np.subtract(edges, list(places.values()))
    assert (np.abs(errors) <= 4).mean() > 0.9


def test_minutes_of_speech_without_text_do_not_draw_the_text_behind_them():
    log_probs, text, places = recording(5, 60, untold=range(20, 45))
    found = {row.sentence: row for row in place_sentences(log_probs, text)}
    foreign = found.keys() - places.keys()  # for which there is room
    assert places.keys() <= found.keys() and len(foreign) <= 3
    errors = [found[k].start - places[k][0] for k in places]
    assert (np.abs(errors) <= 4).mean() > 0.95


def test_nothing_is_placed_in_a_recording_of_another_text():
    log_probs, _, _ = recording(6, 60)
    _, text, _ = recording(7, 60)
    assert not list(place_sentences(log_probs, text))


def test_a_word_is_not_heard_seconds_away():
    """In speech without text is the last token, which was not heard."""
    said = [1, 0, 2, 0, 3, 0, 5, *[0] * 60, 6, 0, 4, 0, 7, *[0] * 9]
    log_probs = np.log(np.eye(8)[said] * 0.95 + 0.006)
    [found] = place_sentences(log_probs, [[1, 2, 3, 4]])
    assert (found.start, found.end) == (0, 7)


def test_text_of_hours_that_was_not_spoken_is_passed_over(monkeypatch):
    """More of it than is searched at first."""
    monkeypatch.setattr(segmentation, "_TEXT", 300)
    log_probs, text, places = recording(1, 20)
    rng = np.random.default_rng(5)
    other = [rng.integers(1, 30, size=20).tolist() for _ in range(100)]
    found = [x.sentence for x in place_sentences(log_probs, other + text)]
    assert found == [k + 100 for k in places]


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    monkeypatch.setattr(segmentation, "_TEXT", 1500)

    def peak(count):
        log_probs, text, _ = recording(2, count)
        tracemalloc.start()
        assert len(list(place_sentences(log_probs, text, window=2000)))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(5)  # what is loaded once
    assert peak(400) < 1.5 * peak(100)


def test_a_short_sentence_that_was_not_spoken_takes_no_frames():
    log_probs = np.log(np.eye(5)[[1, 0, 2, 0, 0, 3, 0, 4]] * 0.95 + 0.01)
    found = list(place_sentences(log_probs, [[1, 2], [4], [3, 4]]))
    assert [(x.sentence, x.start, x.end) for x in found] == [
        (0, 0, 3),
        (2, 5, 8),
    ]


def test_scores_tell_the_words_that_were_spoken():
    log_probs = np.log(np.eye(5)[[1, 0, 2, 0, 3, 0, 0]] * 0.95 + 0.01)
    [right] = place_sentences(log_probs, [[1, 2, 3]])
    assert right.score == 0
    [wrong] = place_sentences(log_probs, [[1, 4, 3]])
    assert wrong.score < -0.5
