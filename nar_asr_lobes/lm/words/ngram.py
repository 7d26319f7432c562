"""Trains n-grams of words, or takes them from ARPA files, for a search.

texts -> WordCorpus -> an estimate -> its n-grams over a Lexicon
                     ARPA file ----->
      -> tables over words -> tables over pieces (`word_tables`), *.ngram

The search sees an n-gram over pieces like any other.

Words outside the vocabulary
----------------------------
All of them are <unk>. One costs log P(<unk> | words before), and then the
log-probability of its spelling under an n-gram of pieces that is trained on
the vocabulary, each word once (of order 3). P(<unk> | ...) is
always the back-off estimate: n-grams that predict <unk> behind other words are
left out, those that begin with it are kept. A model without <unk> gives it
log10 P = -100, as KenLM does. So does a word of no pieces: a space at the
begin or end of a sentence, or behind a space, is an unknown word. A word that
is cut into other pieces than the tokenizer's is an unknown word, too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nar_asr_lobes.dataio.text.pieces import SPACE
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import encode_words, lm_words
from nar_asr_lobes.lm.ngram.arpa import read_arpa, read_words, write_arpa
from nar_asr_lobes.lm.ngram.kneser_ney import (
    SPECIAL_WORDS,
    START,
    UNKNOWN,
    NgramModel,
    estimate,
)
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import NgramInfo, NgramTables, write_ngram
from nar_asr_lobes.lm.ngram.training import (
    NgramReport,
    checked_name,
    estimate_corpus,
    report_on,
    thresholds,
)
from nar_asr_lobes.lm.ngram.vocabulary import (
    add_endings,
    merge_words,
    renumber,
)
from nar_asr_lobes.lm.words.lexicon import Lexicon, find_word_ends, make_lexicon
from nar_asr_lobes.lm.words.tables import spell_words
from nar_asr_lobes.schema import require_count
from nar_asr_lobes.storage import atomic_write

_SPELLING_ORDER = 3  # 2.25 nats a piece on new words; 5: 2.18, 1: 2.94
_SPECIAL = len(SPECIAL_WORDS)
_log = logging.getLogger(__name__)


def train_word_ngram(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    order: int,
    path: str | os.PathLike,
    prune: Sequence[int] = (),
    lmplz: str | None = None,
    min_count: int = 1,
    progress: Callable[[str], object] = _log.info,
) -> NgramReport:
    """Estimate an n-gram of words, as `train_ngram` does one of pieces.

    Arguments
    ---------
    texts, tokenizer, path, prune, lmplz, progress
        As for `train_ngram`. The tokenizer's pieces tell where words begin,
        see `find_word_ends`.
    order : int
        Longest n-gram, in words.
    min_count : int
        How often a word must occur; others are <unk>.

    Returns
    -------
    NgramReport

    Raises
    ------
    UserError
        As for `train_ngram`, for a tokenizer whose pieces do not, and if no
        word occurs often enough.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lm.ngram.lookup import NgramLM
    >>> tokenizer = CharTokenizer("abc ")
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> report = train_word_ngram(["ab ca", "ab"], tokenizer, 2, path)
    >>> report.ngrams  # <unk>, <s>, </s>, ab, ca
    (5, 4)
    >>> lm = NgramLM.load(report.path, tokenizer)
    >>> lm.sentence(tokenizer.encode("ab")) > lm.sentence(
    ...     tokenizer.encode("ac")
    ... )
    True
    """
    prune = thresholds(order, prune)
    require_count("min_count", min_count)
    path = checked_name(path, ".arpa")
    find_word_ends(tokenizer)
    text = encode_words(texts, tokenizer, min_count)
    corpus, words = text.corpus, text.words
    lexicon = make_lexicon(words[:-1], tokenizer)
    number = np.append(_numbers(lexicon), UNKNOWN)  # the last word is <rare>
    info = NgramInfo(
        tokenizer=tokenizer.fingerprint,
        order=order,
        lines_used=len(corpus.lengths),
        lines_left_out=corpus.lines_left_out,
        estimator="lmplz" if lmplz else "numpy",
        unit="words",
    )
    with atomic_write(path) as file:
        progress(f"n-gram: order {order} of {len(corpus.tokens)} words")
        model = estimate_corpus(corpus, words, order, prune, lmplz, path)
        model = renumber(model, number[model.vocabulary])
        progress("n-gram: making and writing the tables")
        names = [words[i] for i in np.argsort(lexicon.place)]
        write_arpa(file, model, names)
        tables = _spelled(model, lexicon, tokenizer)
        write_ngram(path.with_suffix(".ngram"), tables, info)
    return report_on(path, info, corpus, model)


def convert_arpa(
    arpa: str | os.PathLike,
    tokenizer: Tokenizer,
    path: str | os.PathLike,
    text_style: str = "none",
    unit: str | None = None,
) -> NgramReport:
    """Make the tables of an ARPA file, for example of KenLM or SRILM.

    Arguments
    ---------
    arpa : str or path
        The file.
    tokenizer : Tokenizer
        For words one that `find_word_ends` accepts; for pieces the one that
        cut the text of the n-gram.
    path : str or path
        Where to write the tables, *.ngram.
    text_style : str
        Normalisation of each word. Those that it makes the same are joined,
        see `merge_words`; those that it turns into none or several, and those
        that the tokenizer cannot spell, are left out with their n-grams.
        Pieces stay as they are.
    unit : str, optional
        "words" or "pieces". None: pieces if the file has one with
        sentencepiece's sign for a space, "▁".

    Returns
    -------
    NgramReport
        Its numbers are those of the n-grams that were kept.

    Raises
    ------
    UserError
        For a file that is no whole ARPA model, or of which no word is left,
        a tokenizer whose pieces do not tell where words begin, and an n-gram
        of other pieces than the tokenizer's.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> tokenizer = CharTokenizer("abc ")
    >>> report = train_word_ngram(["ab ca"], tokenizer, 2, folder + "/a.arpa")
    >>> convert_arpa(
    ...     report.arpa, CharTokenizer("ab "), folder + "/b.ngram"
    ... ).words_left_out
    ('ca',)
    """
    path = checked_name(path, ".ngram")
    words = read_words(arpa)
    if unit is None:
        spaced = any(SPACE in word for word in words)
        unit = "pieces" if spaced else "words"
    lost = {}
    try:
        if unit == "pieces":
            model = read_arpa(arpa, lm_words(tokenizer))
            numbers = np.arange(tokenizer.size) + _SPECIAL
            model = add_endings(renumber(model, numbers))
            tables = build_tables(model, tokenizer.size)
        else:
            lexicon = make_lexicon(words, tokenizer, text_style)
            whole = read_arpa(arpa, words)
            model = _over_lexicon(whole, lexicon)
            tables = _spelled(model, lexicon, tokenizer)
            lost = _losses(whole, words, lexicon)
    except UserError as error:
        raise _naming(arpa, error) from error
    info = NgramInfo(
        tokenizer=tokenizer.fingerprint,
        order=len(model.tables),
        lines_used=0,
        lines_left_out=0,
        estimator="arpa",
        unit=unit,
    )
    write_ngram(path, tables, info)
    counts = tuple(len(table.words) for table in model.tables)
    return NgramReport(path, Path(arpa), info, counts, tokens=0, **lost)


def _over_lexicon(model: NgramModel, lexicon: Lexicon) -> NgramModel:
    """Leave words out and join those that are spelled alike."""
    kept = lexicon.place >= 0
    own = np.where(kept, np.cumsum(kept) - 1 + _SPECIAL, -1)
    model = add_endings(renumber(model, own))
    joined = kept.sum() >= len(lexicon.begin)
    join = merge_words if joined else renumber
    return join(model, _numbers(lexicon)[kept])


def _losses(
    model: NgramModel, words: Sequence[str], lexicon: Lexicon
) -> dict[str, Any]:
    """Describe the words that a lexicon leaves out or joins."""
    left_out = np.flatnonzero(lexicon.place < 0)
    unigrams = model.tables[0]
    ids, prob = unigrams.words[:, 0], 10.0**unigrams.log_prob
    chosen = np.isin(ids, left_out + _SPECIAL)
    return {
        "words_left_out": tuple(words[i] for i in left_out.tolist()),
        "share_left_out": float(prob[chosen].sum() / prob[ids != START].sum()),
        "words_joined": len(words) - len(left_out) - len(lexicon.begin) + 1,
    }


def _numbers(lexicon: Lexicon) -> np.ndarray:
    """Return the number of each given word in a model over the lexicon."""
    return np.where(lexicon.place < 0, -1, lexicon.place + _SPECIAL)


def _spelled(
    model: NgramModel, lexicon: Lexicon, tokenizer: Tokenizer
) -> NgramTables:
    """Make tables over pieces of n-grams over the lexicon."""
    count = len(lexicon.begin) - 1
    # as a word of its own, the last one, so that n-grams may begin with it
    tables = [
        replace(
            table,
            words=np.where(
                table.words == UNKNOWN, count + _SPECIAL, table.words
            ),
        )
        for table in model.tables
    ]
    words = build_tables(
        NgramModel(np.arange(1, count + 2), tables), size=count + 2
    )
    lengths = np.diff(lexicon.begin)
    letters = estimate(lexicon.pieces, lengths, _SPELLING_ORDER)
    spelling = build_tables(letters, tokenizer.size)
    return spell_words(words, lexicon, spelling, find_word_ends(tokenizer))


def _naming(arpa: str | os.PathLike, error: UserError) -> UserError:
    """Name the file in a message that does not."""
    message = str(error)
    return UserError(message if str(arpa) in message else f"{arpa}: {message}")
