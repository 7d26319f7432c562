"""ARPA files: the text format of n-gram language models.

    \\data\\            number of n-grams of each order
    \\1-grams:         log10 probability <TAB> words [<TAB> log10 back-off]
    ...
    \\end\\
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.kneser_ney import (
    SPECIAL_WORDS,
    UNKNOWN,
    NgramModel,
    NgramTable,
)

_ROWS = 100_000  # n-grams that are Python objects at a time


def write_arpa(
    path: str | os.PathLike, model: NgramModel, words: Sequence[str]
) -> None:
    """Write an estimated model.

    Arguments
    ---------
    path : str or path
    model : NgramModel
    words : sequence of str
        The word of each id in `model.vocabulary`; none is a special word or
        holds white space.

    Example
    -------
    >>> import tempfile
    >>> import numpy as np
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> model = estimate(np.array([0, 1]), np.array([2]), order=2)
    >>> write_arpa(path, model, ["a", "b"])
    >>> read_counts(path)
    (5, 3)
    """
    names = [*SPECIAL_WORDS, *(words[i] for i in model.vocabulary.tolist())]
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        for n, table in enumerate(model.tables, 1):
            file.write(f"ngram {n}={len(table.words)}\n")
        for n, table in enumerate(model.tables, 1):
            file.write(f"\n\\{n}-grams:\n")
            file.writelines(_lines(table, names))
        file.write("\n\\end\\\n")


def _lines(table: NgramTable, names: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(table.words), _ROWS):
        rows = slice(start, start + _ROWS)
        columns = table.words[rows].T.tolist()
        grams = zip(*([names[i] for i in c] for c in columns), strict=True)
        probs = table.log_prob[rows].tolist()
        backoffs = itertools.repeat("")
        if table.backoff is not None:
            backoffs = (f"\t{b:.7g}" for b in table.backoff[rows].tolist())
        for prob, gram, backoff in zip(probs, grams, backoffs, strict=False):
            yield f"{prob:.7g}\t{' '.join(gram)}{backoff}\n"


def make_loadable(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy an ARPA file into a form that KenLM can read, of equal meaning.

    KenLM refuses a model of unigrams only, so that one gets an empty list of
    bigrams, and a back-off of "-inf", which lmplz writes where a small text
    leaves nothing to back off to; the format's own sign for it is -99.

    Arguments
    ---------
    source : str or path
        A complete ARPA file.
    target : str or path
        Where to write it.

    Example
    -------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> lines = ["\\\\data\\\\", "ngram 1=1", "", "\\\\1-grams:", "-1\\ta"]
    >>> text = "\\n".join([*lines, "", "\\\\end\\\\", ""])
    >>> size = (folder / "a").write_text(text)
    >>> make_loadable(folder / "a", folder / "b")
    >>> read_counts(folder / "b")
    (1, 0)
    """
    unigrams_only = len(read_counts(source)) == 1
    with open(source, "rb") as lines, open(target, "wb") as file:
        for line in lines:
            # A piece may have this name: "-0.5 TAB -inf" has no back-off.
            if line.endswith(b"\t-inf\n") and line.count(b"\t") == 2:
                line = line[: -len(b"-inf\n")] + b"-99\n"
            elif unigrams_only and line.startswith(b"ngram 1="):
                line += b"ngram 2=0\n"
            elif unigrams_only and line == b"\\end\\\n":
                line = b"\\2-grams:\n\n" + line
            file.write(line)


def read_counts(path: str | os.PathLike) -> tuple[int, ...]:
    """Read how many n-grams of each order an ARPA file holds.

    Arguments
    ---------
    path : str or path

    Returns
    -------
    tuple of int
        For order 1, 2, ...; empty if the file's head says nothing.
    """
    counts = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.rstrip().endswith("-grams:"):
                break
            if line.startswith("ngram "):
                counts.append(int(line.partition("=")[2]))
    return tuple(counts)


def read_arpa(path: str | os.PathLike, words: Sequence[str]) -> NgramModel:
    """Read a model that `write_arpa` or lmplz wrote.

    Arguments
    ---------
    path : str or path
    words : sequence of str
        The word of each id, as for `write_arpa`.

    Returns
    -------
    NgramModel
        Its vocabulary is all the ids, also those that the file lacks. Every
        table has back-offs, 0 where the file has none.

    Raises
    ------
    UserError
        The file cannot be read, is no ARPA file, or has other words.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> model = estimate(np.array([0, 1]), np.array([2]), order=2)
    >>> write_arpa(path, model, ["a", "b"])
    >>> read_arpa(path, ["a", "b"]).tables[1].words.tolist()
    [[4, 2], [1, 3], [3, 4]]
    """
    numbers = {word: i for i, word in enumerate([*SPECIAL_WORDS, *words])}
    numbers.setdefault("<UNK>", UNKNOWN)
    with _faults_told(path), open(path, encoding="utf-8") as lines:
        tables = [
            _read_table(lines, n, count, numbers)
            for n, count in enumerate(_counts(path), 1)
        ]
        if not any(line.rstrip() == "\\end\\" for line in lines):
            raise ValueError("its end is missing")
    return NgramModel(np.arange(len(words)), tables)


def read_words(path: str | os.PathLike) -> list[str]:
    """Read the words of a model, in the order of its unigrams.

    Arguments
    ---------
    path : str or path

    Returns
    -------
    list of str
        Without <unk> (or <UNK>), <s> and </s>.

    Raises
    ------
    UserError
        The file cannot be read or is no ARPA file.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.lm.kneser_ney import estimate
    >>> path = tempfile.mkdtemp() + "/lm.arpa"
    >>> model = estimate(np.array([1, 0]), np.array([2]), order=2)
    >>> write_arpa(path, model, ["a", "b"])
    >>> read_words(path)
    ['b', 'a']
    """
    special = {*SPECIAL_WORDS, "<UNK>"}
    with _faults_told(path), open(path, encoding="utf-8") as lines:
        count = _counts(path)[0]
        _find_section(lines, 1)
        rows = itertools.islice(lines, count)
        words = [line.rstrip("\n").split("\t")[1] for line in rows]
        if len(words) < count:
            raise ValueError("it ends among its 1-grams")
        return [word for word in words if word not in special]


@contextmanager
def _faults_told(path: str | os.PathLike) -> Iterator[None]:
    """Turn what goes wrong in reading a file into the user's words."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except KeyError as error:
        raise UserError(
            f"{path}: its word {error} is neither a unigram of it nor a piece"
            " of this tokenizer; copy it again if it was cut off, or train the"
            " language model with this tokenizer"
        ) from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: is not a whole ARPA file ({error}); copy it again, or"
            " train the language model again"
        ) from error


def _counts(path: str | os.PathLike) -> tuple[int, ...]:
    counts = read_counts(path)
    if not counts:
        raise ValueError("it has no n-grams")
    return counts


def _find_section(lines: Iterator[str], n: int) -> None:
    """Read up to the head of a section; the file is somewhere before it."""
    head = f"\\{n}-grams:"
    if not any(line.rstrip() == head for line in lines):
        raise ValueError(f"the section of {n}-grams is missing")


def _read_table(
    lines: Iterator[str], n: int, count: int, numbers: Mapping[str, int]
) -> NgramTable:
    """Read one section; the file is somewhere before it."""
    _find_section(lines, n)
    words = np.empty((count, n), dtype=np.int32)
    log_prob = np.empty(count, dtype=np.float32)
    backoff = np.empty(count, dtype=np.float32)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        chunk = itertools.islice(lines, rows.stop - rows.start)
        fields = [line.rstrip("\n").split("\t") for line in chunk]
        grams = " ".join([field[1] for field in fields]).split(" ")
        ids = [numbers[word] for word in grams]
        words[rows] = np.array(ids, dtype=np.int32).reshape(-1, n)
        log_prob[rows] = [float(field[0]) for field in fields]
        backoff[rows] = [float((*field, 0)[2]) for field in fields]
    if next(lines, "").strip():
        raise ValueError(f"it has more {n}-grams than its head says")
    return NgramTable(words, log_prob, backoff)
