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

import numpy as np

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.kneser_ney import SPECIAL_WORDS, NgramModel, NgramTable

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
            if line.endswith("-grams:\n"):
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
    try:
        counts = read_counts(path)
        if not counts:
            raise ValueError("it has no n-grams")
        with open(path, encoding="utf-8") as lines:
            tables = [
                _read_table(lines, n, count, numbers)
                for n, count in enumerate(counts, 1)
            ]
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except KeyError as error:
        raise UserError(
            f"{path}: its word {error} is no piece of this tokenizer; train"
            " the language model with this one"
        ) from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: is not a whole ARPA file ({error}); train the language"
            " model again"
        ) from error
    return NgramModel(np.arange(len(words)), tables)


def _read_table(
    lines: Iterator[str], n: int, count: int, numbers: Mapping[str, int]
) -> NgramTable:
    """Read one section; the file is somewhere before it."""
    head = f"\\{n}-grams:\n"
    if not any(line == head for line in lines):
        raise ValueError(f"the section of {n}-grams is missing")
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
    return NgramTable(words, log_prob, backoff)
