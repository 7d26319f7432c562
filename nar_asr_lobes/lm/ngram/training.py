"""Trains n-gram language models over a tokenizer's pieces.

texts -> Corpus -> kneser_ney.estimate -> NgramModel -> *.arpa, *.ngram
                or KenLM's lmplz
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import Corpus, encode_corpus, lm_words
from nar_asr_lobes.lm.ngram.arpa import read_arpa, write_arpa
from nar_asr_lobes.lm.ngram.kneser_ney import NgramModel, estimate
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import NgramInfo, write_ngram
from nar_asr_lobes.storage import atomic_write

MAX_ORDER = 64  # far more than helps; each order is a pass over the text
# lmplz's default, 80 % of the machine, is touched even for a ten-line text.
_LMPLZ_MEMORY = "1G"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NgramReport:
    """An n-gram model's files and their sources."""

    path: Path  # the tables, for NgramLM.load
    arpa: Path  # the same model for other programs
    info: NgramInfo
    ngrams: tuple[int, ...]  # number of order 1, 2, …
    tokens: int  # pieces, or words, in the lines used
    unknown_characters: tuple[str, ...] = ()  # in the lines left out
    # of an ARPA file, that cannot be spelled
    words_left_out: tuple[str, ...] = ()
    share_left_out: float = 0.0  # their probability by the unigrams
    words_joined: int = 0  # that became the same as another one


def train_ngram(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    order: int,
    path: str | os.PathLike,
    prune: Sequence[int] = (),
    lmplz: str | None = None,
    progress: Callable[[str], object] = _log.info,
) -> NgramReport:
    """Estimate an interpolated modified Kneser-Ney model of a text.

    The model's words are the tokenizer's pieces (`lm_words`).

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
    lmplz : str, optional
        Path of KenLM's program, which gives an equal model and sorts on disk.
        Without it all is in memory: about 3 GB for 10 million tokens at
        order 6.
    progress : callable
        Is given a line at the start of each step.

    Returns
    -------
    NgramReport

    Raises
    ------
    UserError
        Bad order, thresholds or name, no usable line, or lmplz fails.

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
    corpus = encode_corpus(texts, tokenizer)
    words = lm_words(tokenizer)
    info = NgramInfo(
        tokenizer=tokenizer.fingerprint,
        order=order,
        lines_used=len(corpus.lengths),
        lines_left_out=corpus.lines_left_out,
        estimator="lmplz" if lmplz else "numpy",
    )
    with atomic_write(path) as file:
        progress(f"n-gram: order {order} of {len(corpus.tokens)} pieces")
        model = estimate_corpus(corpus, words, order, prune, lmplz, path)
        progress("n-gram: making and writing the tables")
        write_arpa(file, model, words)
        tables = build_tables(model, tokenizer.size)
        write_ngram(path.with_suffix(".ngram"), tables, info)
    return report_on(path, info, corpus, model)


def estimate_corpus(
    corpus: Corpus,
    words: Sequence[str],
    order: int,
    prune: Sequence[int],
    lmplz: str | None,
    path: Path,
) -> NgramModel:
    """Estimate a model in memory, or with lmplz in a folder beside a path."""
    if not lmplz:
        return estimate(corpus.tokens, corpus.lengths, order, prune)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lm") as folder:
        arpa = Path(folder, "lmplz.arpa")
        _run_lmplz(lmplz, corpus, words, order, prune, arpa)
        return read_arpa(arpa, words)


def report_on(
    path: Path, info: NgramInfo, corpus: Corpus, model: NgramModel
) -> NgramReport:
    """Describe a model that was trained on a corpus."""
    return NgramReport(
        path=path.with_suffix(".ngram"),
        arpa=path,
        info=info,
        ngrams=tuple(len(table.words) for table in model.tables),
        tokens=len(corpus.tokens),
        unknown_characters=corpus.unknown_characters,
    )


def _run_lmplz(
    program: str,
    corpus: Corpus,
    words: Sequence[str],
    order: int,
    prune: Sequence[int],
    arpa: Path,
) -> None:
    """Estimate a model with lmplz; its temporary files stand beside it."""
    text = arpa.with_name("text")
    with open(text, "w", encoding="utf-8", newline="\n") as file:
        for ids in corpus.sentences():
            # The space keeps a first word such as "BZh" from being taken for
            # the start of a compressed file.
            file.write(f" {' '.join(words[i] for i in ids)}\n")
    command = [program, "--order", str(order), "--memory", _LMPLZ_MEMORY]
    command += ["--text", str(text), "--arpa", str(arpa)]
    command += ["--temp_prefix", f"{arpa.parent}{os.sep}"]
    command += ["--discount_fallback"]
    if any(prune):
        command += ["--prune", *map(str, prune)]
    remedy = "give the path of a KenLM's lmplz that works, or leave it out"
    try:
        result = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise UserError(
            f"{program}: cannot be started ({error.strerror}); {remedy}"
        ) from error
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(
            f"{program}: failed with status {result.returncode} "
            f"({said[-1] if said else 'no message'}); {remedy}"
        )


def thresholds(order: int, prune: Sequence[int]) -> tuple[int, ...]:
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


def checked_name(path: str | os.PathLike, suffix: str) -> Path:
    """Return the path of a model's file if its name ends as it must."""
    path = Path(path)
    if path.suffix != suffix:
        raise UserError(
            f"{path}: is no name for an n-gram model; let it end in {suffix}"
        )
    return path
