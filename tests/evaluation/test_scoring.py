"""Counts equal jiwer's, utterance by utterance, and groups add up to all."""

import random

import jiwer
import numpy as np
import pytest

from nar_asr_lobes.evaluation.scoring import (
    compare_scores,
    score_texts,
    summarize,
    summarize_groups,
)
from nar_asr_lobes.evaluation.terms import read_terms

WORDS = ["a", "bee", "sea", "dee", "éa", "non", "天気"]


def random_texts(rng, count, shortest=0):
    return [
        " ".join(rng.choices(WORDS, k=rng.randint(shortest, 8)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def pairs():
    rng = random.Random(0)
    return random_texts(rng, 1200, 1), random_texts(rng, 1200)


@pytest.fixture
def drugs(tmp_path):
    path = tmp_path / "terms.tsv"
    path.write_text("bee\tdrugs\nsea\tdrugs\nnon\tsymptoms\n", encoding="utf-8")
    return read_terms(path)


def test_each_pair_counts_as_jiwer_counts_it(pairs):
    counts = score_texts(*pairs).counts
    for place, (said, heard) in enumerate(zip(*pairs, strict=True)):
        row = {name: values[place] for name, values in counts.items()}
        found = jiwer.process_words(said, heard)
        for name in ("substitutions", "deletions", "insertions"):
            assert row[name] == getattr(found, name)
        assert row["word_errors"] / row["words"] == jiwer.wer(said, heard)
        errors = row["character_errors"]
        assert errors / row["characters"] == jiwer.cer(said, heard)


def test_all_together_are_as_jiwer_gives_them(pairs):
    found = summarize(score_texts(*pairs))
    assert found["wer"] == pytest.approx(jiwer.wer(*map(list, pairs)))
    assert found["cer"] == pytest.approx(jiwer.cer(*map(list, pairs)))
    each = [jiwer.wer(*pair) for pair in zip(*pairs, strict=True)]
    assert found["mean_wer"] == pytest.approx(np.mean(each))


def test_kinds_of_errors_add_up(pairs):
    scores = score_texts(*pairs)
    found = summarize(scores)
    kinds = {"substitutions": 0, "deletions": 0, "insertions": 0}
    for (said, heard), times in scores.errors.items():
        assert said != heard
        kind = "substitutions" if said and heard else "deletions"
        kinds[kind if said else "insertions"] += times
    assert kinds == {kind: found[kind] for kind in kinds}


def test_groups_add_up_to_all(pairs, drugs):
    scores = score_texts(*pairs, terms=drugs)
    rng = random.Random(1)
    groups = rng.choices(["child", "adult", ""], k=1200)
    clusters = rng.choices("abcdefgh", k=1200)
    found = summarize_groups(scores, groups, clusters)
    everything = summarize(scores, clusters)
    assert sorted(found) == ["", "adult", "child"]
    for name in scores.counts:
        assert sum(g[name] for g in found.values()) == everything[name]
    for category, sums in everything["terms"].items():
        for name in ("terms", "errors", "insertions", "unique", "found"):
            parts = [g["terms"][category][name] for g in found.values()]
            assert sum(parts) == sums[name]


def test_categories_add_up_to_all_terms(pairs, drugs):
    found = summarize(score_texts(*pairs, terms=drugs))["terms"]
    assert found["all"]["terms"] > 500
    for name in ("terms", "errors", "insertions", "unique", "found"):
        parts = found["drugs"][name] + found["symptoms"][name]
        assert parts == found["all"][name]


def test_words_made_up_where_nothing_was_said_count():
    found = summarize(score_texts(["", "a b"], ["oh no", "a b"]))
    assert (found["insertions"], found["wer"]) == (2, 1.0)
    assert found["mean_wer"] == 0  # of the one that has words


def test_without_any_word_there_is_no_rate():
    found = summarize(score_texts(["", ""], ["", "x"]))
    assert (found["wer"], found["wer_interval"]) == (None, None)
    assert found["mean_wer"] is None
    assert found["insertions"] == 1


def test_texts_are_normalised_on_both_sides():
    scores = score_texts(["No {Chest/} PAIN"], ["no pain"], str.lower)
    assert scores.counts["word_errors"].tolist() == [0]
    assert scores.counts["words"].tolist() == [2]


def test_the_better_system_is_found_in_terms_too(pairs, drugs):
    said, heard = pairs
    mended = [
        text if place % 2 else other
        for place, (text, other) in enumerate(zip(said, heard, strict=True))
    ]
    scores = [
        score_texts(said, texts, terms=drugs) for texts in (heard, mended)
    ]
    found = compare_scores(*scores)
    assert sorted(found) == [
        *("cer", "m_wer all", "m_wer drugs", "m_wer symptoms", "wer"),
    ]
    for comparison in found.values():
        assert comparison.probability == 1
        assert 0.4 < comparison.fewer.value < 0.6
