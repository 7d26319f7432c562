"""The estimator gives lmplz's numbers, and distributions that sum to one."""

import itertools

import numpy as np
import pytest

from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from tests.lm.arpa_files import save

REFERENCES = {
    "notes.1": (),
    "notes.3": (),
    "notes.4.prune-0-0-1": (0, 0, 1, 1),
    "chant.6": (),
    "gap.2": (),
    "tiny.3": (),
    "tiny.5": (),
}


def corpus(lines):
    """Characters as ids: code points, as many gaps as there may be."""
    tokens = np.array([ord(c) for line in lines for c in line])
    return tokens, np.array([len(line) for line in lines])


def random_lines(seed, alphabet, lines):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(alphabet) + 1)
    return [
        "".join(
            rng.choice(
                list(alphabet), rng.integers(1, 9), p=weights / weights.sum()
            )
        )
        for _ in range(lines)
    ]


@pytest.mark.parametrize("name", REFERENCES)
def test_equal_to_lmplz(
    name, tmp_path, reference_text, reference_arpa, read_arpa, assert_equal
):
    text, order = name.split(".")[:2]
    lines = [line.replace(" ", "▁") for line in reference_text(text)]
    model = estimate(*corpus(lines), int(order), REFERENCES[name])
    save(tmp_path / "a", model, [chr(i) for i in range(0x2600)])
    found = read_arpa(tmp_path / "a")
    assert_equal(found, reference_arpa(name), tolerance=2e-6)


@pytest.mark.parametrize(
    ("alphabet", "lines", "order", "prune"),
    [
        ("abcdefg", 60, 3, ()),
        ("abcdefg", 60, 3, (0, 1, 2)),
        ("abc", 4, 4, ()),
        ("a", 1, 2, ()),
        ("abcdefghijkl", 30, 2, (0, 3)),
    ],
)
def test_every_context_is_a_distribution(
    alphabet, lines, order, prune, tmp_path, read_arpa
):
    text = random_lines(3, alphabet, lines)
    model = estimate(*corpus(text), order, prune)
    save(tmp_path / "a", model, [chr(i) for i in range(128)])
    grams = read_arpa(tmp_path / "a")
    words = {w for (w,) in (g for g in grams if len(g) == 1)} - {"<s>"}
    contexts = {gram[:-1] for gram in grams} | {("<unk>", "a"), ("<s>",)}
    for context in contexts:
        total = sum(10 ** grams.predict(context, w) for w in words)
        assert total == pytest.approx(1, abs=1e-5), context


def test_pruned_model_keeps_all_beginnings_and_endings():
    text = random_lines(1, "abcde", 80)
    kept = []
    for prune in ((), (0, 1, 2, 3)):
        tables = estimate(*corpus(text), 4, prune).tables
        kept.append([set(map(tuple, t.words.tolist())) for t in tables])
    whole, pruned = kept
    assert pruned[0] == whole[0]
    for shorter, longer in itertools.pairwise(pruned):
        assert {g[1:] for g in longer} <= shorter
        assert {g[:-1] for g in longer} <= shorter
    for n, grams in enumerate(pruned[1:], 2):
        assert grams < whole[n - 1]


def test_names_of_ids_do_not_matter():
    tokens, lengths = corpus(random_lines(2, "abcd", 30))
    renamed = 1000 - tokens
    one, other = (estimate(t, lengths, 3) for t in (tokens, renamed))
    assert (one.vocabulary + other.vocabulary == 1000).all()
    for a, b in zip(one.tables, other.tables, strict=True):
        np.testing.assert_array_equal(a.words, b.words)
        np.testing.assert_array_equal(a.log_prob, b.log_prob)


def test_n_grams_do_not_cross_sentences():
    together = estimate(np.array([0, 1]), np.array([2]), 2).tables[1]
    apart = estimate(np.array([0, 1]), np.array([1, 1]), 2).tables[1]
    assert [3, 4] in together.words.tolist()
    assert [3, 4] not in apart.words.tolist()
    assert sorted(apart.words.tolist()) == [[1, 3], [1, 4], [3, 2], [4, 2]]
