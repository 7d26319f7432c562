"""Trains n-gram language models over a tokenizer's pieces.

texts -> Corpus -> lmplz.run_lmplz  -> an ARPA file -> its tables, *.ngram
                or kneser_ney.estimate
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.lm.corpus import Corpus, encode_corpus, lm_words
from nar_asr_lobes.lm.ngram.arpa import make_loadable, read_arpa, read_counts
from nar_asr_lobes.lm.ngram.estimation import (
    checked_name,
    choose_program,
    thresholds,
    work_folder,
    write_estimate,
)
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.storage import NgramInfo, write_ngram

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NgramReport:
    """What came of training an n-gram model.

    Arguments
    ---------
    path : path
        The tables; `NgramLM.load` takes them.
    arpa : path
        The same model in the text format that other programs read.
    info : NgramInfo
        As written with the tables: order, lines used and left out, estimator.
    ngrams : tuple of int
        Number of n-grams of order 1, 2, ...
    tokens : int
        Pieces, or words, in the lines used.
    unknown_characters : tuple of str
        Characters outside the tokenizer, in the lines left out.
    words_left_out : tuple of str
        Words of an ARPA file that the tokenizer cannot spell.
    share_left_out : float
        How often they occur, by the file's unigrams.
    words_joined : int
        Words of the file that became the same as another one.
    """

    path: Path
    arpa: Path
    info: NgramInfo
    ngrams: tuple[int, ...]
    tokens: int
    unknown_characters: tuple[str, ...] = ()
    words_left_out: tuple[str, ...] = ()
    share_left_out: float = 0.0
    words_joined: int = 0


def train_ngram(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    order: int,
    path: str | os.PathLike,
    prune: Sequence[int] = (),
    use_lmplz: bool | None = None,
    progress: Callable[[str], object] = _log.info,
) -> NgramReport:
    """Estimate an interpolated modified Kneser-Ney model of a text.

    The model's words are the tokenizer's pieces (`lm_words`). KenLM's program
    lmplz and our own estimator give equal models; lmplz works on disk, ours
    in memory (at order 6 about 3 GB for 10 million tokens).

    Arguments
    ---------
    texts : iterable of str
        One sentence each. Empty ones and those with characters outside the
        tokenizer are left out and counted.
    tokenizer : Tokenizer
    order : int
        Longest n-gram, 1 to 64.
    path : str or path
        Where to write the ARPA file, *.arpa; the tables stand beside it,
        *.ngram. Each appears whole or not at all.
    prune : sequence of int
        Largest count to drop, for order 1, 2, ...; non-decreasing, the last
        one is for the remaining orders too, the first one 0. (0, 0, 1)
        drops n-grams of three and more pieces that occur once.
    use_lmplz : bool, optional
        None: where it is found, in the folder $KENLM_BIN or on PATH.
    progress : callable
        Is told in a line what begins.

    Returns
    -------
    NgramReport

    Raises
    ------
    UserError
        Bad order, thresholds or name, no usable line, lmplz demanded but
        not found, or it fails.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> report = train_ngram(["ab", "b!"], CharTokenizer("ab"), 2, path)
    >>> report.ngrams, report.info.lines_left_out
    ((5, 3), 1)
    """
    prune = thresholds(order, prune)
    path = checked_name(path, ".arpa")
    program = choose_program(use_lmplz)
    corpus = encode_corpus(texts, tokenizer)
    info = NgramInfo(
        tokenizer=tokenizer.fingerprint,
        order=order,
        lines_used=len(corpus.lengths),
        lines_left_out=corpus.lines_left_out,
        estimator="lmplz" if program else "numpy",
    )
    words = lm_words(tokenizer)
    with work_folder(path) as folder:
        progress(
            f"n-gram: estimating order {order} on {len(corpus.tokens)} pieces "
            f"({program or 'our estimator'})"
        )
        arpa = write_estimate(program, corpus, words, order, prune, folder)
        whole = folder / "whole"
        progress(f"n-gram: reading {sum(read_counts(arpa))} n-grams")
        make_loadable(arpa, whole)
        model = read_arpa(whole, words)
        progress("n-gram: building and writing the tables")
        tables = build_tables(model, tokenizer.size)
        write_ngram(path.with_suffix(".ngram"), tables, info)
        os.replace(whole, path)
    return report_on(path, info, corpus)


def report_on(path: Path, info: NgramInfo, corpus: Corpus) -> NgramReport:
    """Describe the model beside an ARPA file, trained on a corpus."""
    return NgramReport(
        path=path.with_suffix(".ngram"),
        arpa=path,
        info=info,
        ngrams=read_counts(path)[: info.order],
        tokens=len(corpus.tokens),
        unknown_characters=corpus.unknown_characters,
    )
