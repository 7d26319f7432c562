"""What the trainings of n-grams over pieces and over words share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import Corpus
from nar_asr_lobes.lm.ngram.arpa import write_arpa
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.lmplz import find_lmplz, run_lmplz
from nar_asr_lobes.storage import cannot_write

MAX_ORDER = 64  # far more than helps; each order is a pass over the text


def write_estimate(
    program: str | None,
    corpus: Corpus,
    words: Sequence[str],
    order: int,
    prune: Sequence[int],
    folder: Path,
) -> Path:
    """Estimate an n-gram and write it as an ARPA file into a folder.

    Arguments
    ---------
    program : str or None
        Path of lmplz; None for our own estimator.
    corpus : Corpus
        The text.
    words : sequence of str
        The word of each id.
    order : int
    prune : sequence of int
        For each order.
    folder : path

    Returns
    -------
    path
        Of the file.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lm.corpus import encode_corpus
    >>> corpus, folder = encode_corpus(["a"], CharTokenizer("a")), Path(
    ...     tempfile.mkdtemp()
    ... )
    >>> write_estimate(None, corpus, ["", "a"], 2, (0, 0), folder).name
    'own.arpa'
    """
    if program:
        sentences = ([words[i] for i in ids] for ids in corpus.sentences())
        return run_lmplz(program, sentences, order, prune, folder)
    model = estimate(corpus.tokens, corpus.lengths, order, prune)
    path = folder / "own.arpa"
    write_arpa(path, model, words)
    return path


def thresholds(order: int, prune: Sequence[int]) -> tuple[int, ...]:
    """Check the order and fill the thresholds up to it.

    Arguments
    ---------
    order : int
    prune : sequence of int
        As the user gave it; may be empty.

    Returns
    -------
    tuple of int
        One for each order.

    Raises
    ------
    UserError
        If one of them does not do.

    Example
    -------
    >>> thresholds(4, (0, 0, 1))
    (0, 0, 1, 1)
    """
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


def choose_program(use_lmplz: bool | None) -> str | None:
    """Return lmplz's path, or None for our own estimator.

    Arguments
    ---------
    use_lmplz : bool or None
        None: where it is found.

    Returns
    -------
    str or None

    Raises
    ------
    UserError
        If it is demanded but not found.

    Example
    -------
    >>> choose_program(use_lmplz=False)
    """
    if use_lmplz is False:
        return None
    program = find_lmplz()
    if use_lmplz and program is None:
        raise UserError(
            "lmplz is not on PATH; set KENLM_BIN to the folder that holds it,"
            " or train with use_lmplz=False"
        )
    return program


def checked_name(path: str | os.PathLike, suffix: str) -> Path:
    """Return the path of a model's file if its name is fit for one.

    Arguments
    ---------
    path : str or path
    suffix : str
        What it must end in.

    Returns
    -------
    path

    Raises
    ------
    UserError
        If it ends otherwise.

    Example
    -------
    >>> checked_name("lm.arpa", ".arpa").name
    'lm.arpa'
    """
    path = Path(path)
    if path.suffix != suffix:
        raise UserError(
            f"{path}: is no name for an n-gram model; let it end in {suffix}"
        )
    return path


def make_folder(path: Path) -> None:
    """Make the folder of a file.

    Arguments
    ---------
    path : path
        The file.

    Raises
    ------
    UserError
        If it cannot be made.

    Example
    -------
    >>> import tempfile
    >>> make_folder(Path(tempfile.mkdtemp()) / "new" / "lm.arpa")
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be made ({error.strerror}); give another"
            " folder"
        ) from error


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside a file to be made; it is removed at the end.

    Arguments
    ---------
    path : path
        The file; its folder is made when missing.

    Yields
    ------
    path

    Raises
    ------
    UserError
        If the folder cannot be made, or what is written there is refused.

    Example
    -------
    >>> import tempfile
    >>> with work_folder(Path(tempfile.mkdtemp()) / "lm.arpa") as folder:
    ...     size = (folder / "own.arpa").write_text("")
    >>> folder.exists()
    False
    """
    make_folder(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lm") as name:
            yield Path(name)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
