"""Alignments of words or characters, as short as the page can take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import jiwer

from nar_asr_lobes.evaluation.alternatives import choose_alternatives
from nar_asr_lobes.evaluation.metrics import word_pairs

Aligned = list[str | list[str]]


def align_texts(
    references: Sequence[str],
    hypotheses: Sequence[str],
    normalize: Callable[[str], str] = str,
    has_words: bool = True,
) -> tuple[list[Aligned], list[list[int]]]:
    """Align hypotheses with references, as ``score_texts`` does.

    Arguments
    ---------
    references, hypotheses : sequence of str
        As they are written, [N].
    normalize : callable
        From raw to normalised text.
    has_words : bool
        Align words, else characters.

    Returns
    -------
    list of list
        Of each utterance: stretches that are correct as strings, errors as
        [reference, hypothesis] with "" where one has nothing.
    list of list of int
        Of each utterance: words or characters of the reference,
        substitutions, deletions, insertions.

    Example
    -------
    >>> align_texts(["no chest pain"], ["no chest pan"])
    ([['no chest', ['pain', 'pan']]], [[3, 1, 0, 0]])
    >>> align_texts(["你好"], ["你"], has_words=False)
    ([['你', ['好', '']]], [[2, 0, 1, 0]])
    """
    heard = [" ".join(normalize(text).split()) for text in hypotheses]
    said = [
        " ".join(choose_alternatives(reference, text, normalize).split())
        for reference, text in zip(references, heard, strict=True)
    ]
    process, space = jiwer.process_characters, ""
    if has_words:
        process, space = jiwer.process_words, " "
    found = process(said, heard)
    pairs = [
        list(word_pairs(*row))
        for row in zip(
            found.references, found.hypotheses, found.alignments, strict=True
        )
    ]
    return [_shorten(row, space) for row in pairs], list(map(_count, pairs))


def _count(pairs: Sequence[tuple[str, str]]) -> list[int]:
    inserted = sum(not said for said, _ in pairs)
    deleted = sum(not heard for _, heard in pairs)
    wrong = sum(said != heard for said, heard in pairs)
    return [
        *(len(pairs) - inserted, wrong - inserted - deleted),
        *(deleted, inserted),
    ]


def _shorten(pairs: Sequence[tuple[str, str]], space: str) -> Aligned:
    """Join neighbours that are correct."""
    found: Aligned = []
    for equal, some in groupby(pairs, lambda pair: pair[0] == pair[1]):
        if equal:
            found.append(space.join(said for said, _ in some))
        else:
            found += map(list, some)
    return found
