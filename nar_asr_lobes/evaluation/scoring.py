"""Counts of every utterance, and their sums as rates with intervals.

    references, hypotheses [N] -> Scores: counts [N] by name, kinds of errors
    Scores, groups [N], clusters [N] -> figures of all and of each group

Sums are taken before rates, so that long utterances weigh more than short ones
and the counts of the groups add up to those of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import jiwer
import numpy as np

from nar_asr_lobes.evaluation.alignment import align_words
from nar_asr_lobes.evaluation.alternatives import choose_alternatives
from nar_asr_lobes.evaluation.bootstrap import (
    Comparison,
    compare_rates,
    rate_interval,
)
from nar_asr_lobes.evaluation.metrics import word_pairs
from nar_asr_lobes.evaluation.negations import NegationList
from nar_asr_lobes.evaluation.terms import TermList

ALL_TERMS = "all"
# The errors of each rate, and the words or characters that it divides by.
RATES = {
    "wer": ("word_errors", "words"),
    "cer": ("character_errors", "characters"),
}
TERM_RATE = ("errors", "terms")
NEGATION_RATE = ("errors", "negations")
_COUNTS = (
    *("utterances", "wrong_utterances", "words", "word_errors"),
    *("substitutions", "deletions", "insertions"),
    *("characters", "character_errors"),
)
_TERM_COUNTS = (
    *("terms", "errors", "substitutions", "deletions", "insertions"),
    *("unique", "found"),
)
_NEGATION_COUNTS = (
    *("negations", "errors", "substitutions", "deletions", "insertions"),
)
_Counts = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """The errors of one system on a set of utterances.

    Arguments
    ---------
    counts : dict
        Of each utterance, int64 [N], by name.
    terms : dict
        By category, and for ALL_TERMS together, the counts of terms, [N].
    errors : Counter
        (word of the reference, word of the hypothesis), "" where one has
        none, with the number of times.
    negations : dict
        The counts of negations, [N]; empty without a list of them.
    """

    counts: _Counts
    terms: dict[str, _Counts] = field(default_factory=dict)
    errors: Counter = field(default_factory=Counter)
    negations: _Counts = field(default_factory=dict)


def score_texts(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalize: Callable[[str], str] = str,
    terms: TermList | None = None,
    negations: NegationList | None = None,
) -> Scores:
    """Count the errors of each utterance.

    Arguments
    ---------
    references : sequence of str
        As they are written, [N]; may have alternatives, "{a/b}". One without
        a word counts what the hypothesis has as inserted.
    hypotheses : sequence of str
        As they are written, [N].
    normalize : callable
        From raw to normalised text.
    terms : TermList, optional
        Counted apart.
    negations : NegationList, optional
        Counted apart.

    Returns
    -------
    Scores

    Example
    -------
    >>> scores = score_texts(["no {chest/breast} pain"], ["no breast pains"])
    >>> int(scores.counts["word_errors"][0]), scores.errors.most_common()
    (1, [(('pain', 'pains'), 1)])
    """
    heard = [" ".join(normalize(text).split()) for text in hypotheses]
    said = [
        " ".join(choose_alternatives(reference, text, normalize).split())
        for reference, text in zip(references, heard, strict=True)
    ]
    errors: Counter = Counter()
    rows = []
    for words, characters in zip(
        _pairs(jiwer.process_words(said, heard)),
        _pairs(jiwer.process_characters(said, heard)),
        strict=True,
    ):
        errors.update(pair for pair in words if pair[0] != pair[1])
        row, spelled = _count_pairs(words), _count_pairs(characters)
        row["characters"] = spelled["words"]
        row["character_errors"] = spelled["word_errors"]
        row["utterances"] = 1
        row["wrong_utterances"] = int(row["word_errors"] > 0)
        rows.append(row)
    found = _count_terms(said, heard, terms) if terms else {}
    negated: _Counts = {}
    if negations:
        counts = [
            negations.count(align_words(*(text.split() for text in pair)))
            for pair in zip(said, heard, strict=True)
        ]
        negated = _columns(counts, _NEGATION_COUNTS)
    return Scores(_columns(rows, _COUNTS), found, errors, negated)


def _pairs(
    found: jiwer.WordOutput | jiwer.CharacterOutput,
) -> Iterator[list[tuple[str, str]]]:
    for row in zip(
        found.references, found.hypotheses, found.alignments, strict=True
    ):
        yield list(word_pairs(*row))


def _count_pairs(pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    inserted = sum(not said for said, _ in pairs)
    deleted = sum(not heard for _, heard in pairs)
    wrong = sum(said != heard for said, heard in pairs)
    return {
        "words": len(pairs) - inserted,
        "word_errors": wrong,
        "substitutions": wrong - inserted - deleted,
        "deletions": deleted,
        "insertions": inserted,
    }


def _count_terms(
    said: Sequence[str], heard: Sequence[str], terms: TermList
) -> dict[str, _Counts]:
    categories = [ALL_TERMS, *sorted(set(terms.categories.values()))]
    rows: dict[str, list] = {category: [] for category in categories}
    for texts in zip(said, heard, strict=True):
        found = terms.align(*texts)
        for category in categories:
            unique = {
                term: right
                for term, right in found.unique.items()
                if category in (ALL_TERMS, terms.categories[term])
            }
            row = _count_pairs(
                [
                    pair
                    for pair in found.pairs
                    if category
                    in (ALL_TERMS, terms.categories[pair[0] or pair[1]])
                ]
            )
            row["terms"] = row["words"]
            # Terms that are inserted are counted apart.
            row["errors"] = row["substitutions"] + row["deletions"]
            row["unique"], row["found"] = len(unique), sum(unique.values())
            rows[category].append(row)
    return {name: _columns(rows[name], _TERM_COUNTS) for name in categories}


def _columns(rows: Sequence[dict[str, int]], names: Sequence[str]) -> _Counts:
    return {
        name: np.array([row[name] for row in rows], dtype=np.int64)
        for name in names
    }


def summarize(
    scores: Scores,
    clusters: Sequence[str] | None = None,
    chosen: np.ndarray | None = None,
) -> dict:
    """Sum the counts of all utterances or of some, and give the rates.

    Arguments
    ---------
    scores : Scores
        Of one system.
    clusters : sequence of str, optional
        Speaker or recording of each utterance, [N], for the intervals.
    chosen : bool array, optional
        Which utterances to take, [N]; all where not given.

    Returns
    -------
    dict
        Ready for JSON: the sums by name; "wer" and "cer" (None without words),
        "wer_interval" and "cer_interval"; "mean_wer", the mean of the
        utterances' own WER; under "terms" for each category the sums, "m_wer"
        with its interval, "recall", and "entity_recall", a mean of utterances;
        under "negations" the sums, and "rate" with its interval.

    Example
    -------
    >>> summarize(score_texts(["a b", "c d"], ["a b", "c"]))["wer"]
    0.25
    """
    if chosen is None:
        chosen = np.ones(len(scores.counts["words"]), dtype=bool)
    labels = None if clusters is None else np.array(clusters)[chosen]
    counts = _choose(scores.counts, chosen)
    found = _sums(counts)
    for rate, names in RATES.items():
        found |= _rate(rate, counts, names, labels)
    found["mean_wer"] = _mean_ratio(counts["word_errors"], counts["words"])
    for category, table in scores.terms.items():
        counts = _choose(table, chosen)
        sums = _sums(counts) | _rate("m_wer", counts, TERM_RATE, labels)
        right = counts["terms"] - counts["errors"]
        sums["recall"] = _ratio(right.sum(), counts["terms"].sum())
        sums["entity_recall"] = _mean_ratio(counts["found"], counts["unique"])
        found.setdefault("terms", {})[category] = sums
    if scores.negations:
        counts = _choose(scores.negations, chosen)
        rate = _rate("rate", counts, NEGATION_RATE, labels)
        found["negations"] = _sums(counts) | rate
    return found


def _choose(counts: _Counts, chosen: np.ndarray) -> _Counts:
    return {name: values[chosen] for name, values in counts.items()}


def _sums(counts: _Counts) -> dict:
    return {name: int(values.sum()) for name, values in counts.items()}


def _rate(
    name: str,
    counts: _Counts,
    names: tuple[str, str],
    clusters: np.ndarray | None,
) -> dict:
    errors, totals = (counts[key] for key in names)
    if not totals.sum():
        return {name: None, f"{name}_interval": None}
    found = rate_interval(errors, totals, clusters)
    interval = None if found.low is None else [found.low, found.high]
    return {name: found.value, f"{name}_interval": interval}


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> float | None:
    """The mean of utterances that have a ratio."""
    some = whole > 0
    return float(np.mean(part[some] / whole[some])) if some.any() else None


def summarize_groups(
    scores: Scores,
    groups: Sequence[str],
    clusters: Sequence[str] | None = None,
) -> dict[str, dict]:
    """Give the figures of each group of utterances.

    Arguments
    ---------
    scores, clusters :
        As for ``summarize``.
    groups : sequence of str
        Group of each utterance, [N].

    Returns
    -------
    dict
        By group, in the order of their names, as ``summarize`` gives them.

    Example
    -------
    >>> scores = score_texts(["a b", "c d"], ["a b", "c"])
    >>> found = summarize_groups(scores, ["child", "adult"])
    >>> {name: figures["wer"] for name, figures in found.items()}
    {'adult': 0.5, 'child': 0.0}
    """
    values = np.array(groups, dtype=str)
    return {
        str(name): summarize(scores, clusters, values == name)
        for name in np.unique(values)
    }


def compare_scores(
    a: Scores, b: Scores, clusters: Sequence[str] | None = None
) -> dict[str, Comparison]:
    """Compare two systems on the same utterances.

    Arguments
    ---------
    a, b : Scores
        Of the same references.
    clusters : sequence of str, optional
        As for ``summarize``.

    Returns
    -------
    dict
        Comparisons by rate: "wer", "cer", of terms "m_wer" with the category
        behind it, and "negations".

    Example
    -------
    >>> a = score_texts(["a b", "c d"], ["a", "c"])
    >>> b = score_texts(["a b", "c d"], ["a b", "c d"])
    >>> compare_scores(a, b)["wer"].probability
    1.0
    """
    tables = {
        rate: (a.counts, b.counts, names) for rate, names in RATES.items()
    }
    for category in a.terms:
        tables[f"m_wer {category}"] = (
            a.terms[category],
            b.terms[category],
            TERM_RATE,
        )
    if a.negations:
        tables["negations"] = a.negations, b.negations, NEGATION_RATE
    return {
        rate: compare_rates(
            counts_a[errors],
            counts_b[errors],
            counts_a[totals],
            counts_b[totals],
            clusters,
        )
        for rate, (counts_a, counts_b, (errors, totals)) in tables.items()
        if counts_a[totals].sum()
    }
