"""Trains n-gram language models over a tokenizer's pieces.

texts -> Corpus -> lmplz.run_lmplz  -> an ARPA file -> its tables, *.ngram
                or kneser_ney.estimate
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.arpa import (
    make_loadable,
    read_arpa,
    read_counts,
    write_arpa,
)
from nar_asr_lobes.lm.corpus import Corpus, encode_corpus, lm_words
from nar_asr_lobes.lm.kneser_ney import estimate
from nar_asr_lobes.lm.lmplz import find_lmplz, run_lmplz
from nar_asr_lobes.lm.states import build_tables
from nar_asr_lobes.lm.storage import NgramInfo, write_ngram

MAX_ORDER = 64  # far more than helps; each order is a pass over the text

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
        Pieces in the lines used.
    unknown_characters : tuple of str
        Characters outside the tokenizer, in the lines left out.
    """

    path: Path
    arpa: Path
    info: NgramInfo
    ngrams: tuple[int, ...]
    tokens: int
    unknown_characters: tuple[str, ...]


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
    >>> from nar_asr_lobes.dataio.tokenizer import CharTokenizer
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> report = train_ngram(["ab", "b!"], CharTokenizer("ab"), 2, path)
    >>> report.ngrams, report.info.lines_left_out
    ((5, 3), 1)
    """
    prune = _thresholds(order, prune)
    path = Path(path)
    if path.suffix != ".arpa":
        raise UserError(
            f"{path}: is no name for an n-gram model; let it end in .arpa"
        )
    program = _choose_program(use_lmplz)
    corpus = encode_corpus(texts, tokenizer)
    if corpus.unknown_characters:
        _log.warning(
            "n-gram: %d lines are empty or have characters outside the"
            " tokenizer and are left out: %s",
            corpus.lines_left_out,
            " ".join(map(repr, corpus.unknown_characters[:10])),
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be made ({error.strerror}); give another"
            " folder"
        ) from error
    info = NgramInfo(
        tokenizer=tokenizer.fingerprint,
        order=order,
        lines_used=len(corpus.lengths),
        lines_left_out=corpus.lines_left_out,
        estimator="lmplz" if program else "numpy",
    )
    words = lm_words(tokenizer)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lm") as folder:
        progress(
            f"n-gram: estimating order {order} on {len(corpus.tokens)} pieces "
            f"({program or 'our estimator'})"
        )
        arpa = _estimate(program, corpus, words, order, prune, Path(folder))
        whole = Path(folder) / path.name
        progress(f"n-gram: reading {sum(read_counts(arpa))} n-grams")
        make_loadable(arpa, whole)
        model = read_arpa(whole, words)
        progress("n-gram: building and writing the tables")
        tables = build_tables(model, tokenizer.size)
        write_ngram(path.with_suffix(".ngram"), tables, info)
        os.replace(whole, path)
    return NgramReport(
        path=path.with_suffix(".ngram"),
        arpa=path,
        info=info,
        ngrams=read_counts(path)[:order],
        tokens=len(corpus.tokens),
        unknown_characters=corpus.unknown_characters,
    )


def _estimate(
    program: str | None,
    corpus: Corpus,
    words: list[str],
    order: int,
    prune: Sequence[int],
    folder: Path,
) -> Path:
    """Write an ARPA file into the folder and return its path."""
    if program:
        sentences = ([words[i] for i in ids] for ids in corpus.sentences())
        return run_lmplz(program, sentences, order, prune, folder)
    model = estimate(corpus.tokens, corpus.lengths, order, prune)
    path = folder / "own.arpa"
    write_arpa(path, model, words)
    return path


def _thresholds(order: int, prune: Sequence[int]) -> tuple[int, ...]:
    """Check the order and fill the thresholds up to it."""
    if not 1 <= order <= MAX_ORDER:
        raise UserError(
            f"n-gram order {order} is not in 1 to {MAX_ORDER}; choose 4, say"
        )
    prune = tuple(prune) or (0,)
    if len(prune) > order or prune[0] != 0 or list(prune) != sorted(prune):
        raise UserError(
            f"prune={prune} does not suit an n-gram of order {order}; give at"
            f" most {order} counts, the first 0 (every piece keeps its"
            " probability) and none smaller than the one before it"
        )
    return prune + prune[-1:] * (order - len(prune))


def _choose_program(use_lmplz: bool | None) -> str | None:
    if use_lmplz is False:
        return None
    program = find_lmplz()
    if use_lmplz and program is None:
        raise UserError(
            "lmplz is not on PATH; set KENLM_BIN to the folder that holds it,"
            " or train with use_lmplz=False"
        )
    return program
