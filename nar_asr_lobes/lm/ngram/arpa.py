"""ARPA files: the text format of n-gram language models.

    \\data\\            number of n-grams of each order
    \\1-grams:         log10 probability <TAB> words [<TAB> log10 back-off]
    ...
    \\end\\
"""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.kneser_ney import (
    SPECIAL_WORDS,
    UNKNOWN,
    NgramModel,
    NgramTable,
)

_ROWS = 100_000  # n-grams that are Python objects at a time
_LOWEST = np.float32(-99)  # log10 of 0, which lmplz writes as "-inf"
_BEGIN, _END = b"\\data\\", b"\\end\\"
_KENLM = b"mmap lm http://kheafield.com/code"
_GZIP, _GZIP_FAULTS = b"\x1f\x8b", (gzip.BadGzipFile, zlib.error)


def write_arpa(file: BinaryIO, model: NgramModel, words: Sequence[str]) -> None:
    """Write an estimated model in a form that KenLM can read, too.

    ``words``: of each id in ``model.vocabulary``. KenLM refuses a model of
    unigrams only, so that one gets an empty list of bigrams.
    """
    names = [*SPECIAL_WORDS, *(words[i] for i in model.vocabulary.tolist())]
    counts = [len(table.words) for table in model.tables]
    counts += [0] * (2 - len(counts))
    file.write(b"\\data\\\n")
    for n, count in enumerate(counts, 1):
        file.write(f"ngram {n}={count}\n".encode())
    for n, _ in enumerate(counts, 1):
        file.write(f"\n\\{n}-grams:\n".encode())
        for table in model.tables[n - 1 : n]:
            file.writelines(_lines(table, names, n < len(model.tables)))
    file.write(b"\n\\end\\\n")


def _lines(
    table: NgramTable, names: Sequence[str], backs_off: bool
) -> Iterator[bytes]:
    for start in range(0, len(table.words), _ROWS):
        rows = slice(start, start + _ROWS)
        columns = table.words[rows].T.tolist()
        grams = zip(*([names[i] for i in c] for c in columns), strict=True)
        probs = table.log_prob[rows].tolist()
        backoffs = table.backoff[rows].tolist()
        for prob, gram, backoff in zip(probs, grams, backoffs, strict=True):
            end = f"\t{backoff:.7g}" if backs_off else ""
            yield f"{prob:.7g}\t{' '.join(gram)}{end}\n".encode()


def _read_counts(path: str | os.PathLike) -> tuple[int, ...]:
    """Read how many n-grams of order 1, 2, ... an ARPA file holds."""
    counts = []
    with _opened(path) as lines:
        if not any(line.strip() == _BEGIN for line in lines):
            raise ValueError("it has no line \\data\\")
        for line in lines:
            if line.rstrip().endswith(b"-grams:"):
                break
            if line.startswith(b"ngram "):
                counts.append(int(line.partition(b"=")[2]))
        if not counts:
            raise ValueError("it has no n-grams")
    return tuple(counts)


def read_arpa(path: str | os.PathLike, words: Sequence[str]) -> NgramModel:
    r"""Read a model that `write_arpa`, lmplz or another program wrote.

    The file may be compressed by gzip; fields may be separated by any white
    space, sections by no blank line; text before ``\data\`` is skipped. The
    vocabulary is all of ``words``; missing back-offs are 0.
    """
    names = [word.encode() for word in (*SPECIAL_WORDS, *words)]
    numbers = {name: i for i, name in enumerate(names)}
    numbers.setdefault(b"<UNK>", UNKNOWN)
    counts = _read_counts(path)
    with _opened(path) as lines:
        tables = [
            _read_table(lines, n, count, numbers)
            for n, count in enumerate(counts, 1)
        ]
        _find(lines, _END, "its end is missing", len(counts))
    return NgramModel(np.arange(len(words)), tables)


def read_words(path: str | os.PathLike) -> list[str]:
    """Read a model's words in the order of its unigrams, no special ones."""
    count, numbers = _read_counts(path)[0], {}
    with _opened(path) as file:
        lines = enumerate(file, 1)
        _find((line for _, line in lines), *_section(1))
        for number, line in itertools.islice(lines, count):
            if not line.endswith(b"\n"):
                break
            word = line.split()[1].decode()
            first = numbers.setdefault(word, number)
            if first != number:
                raise UserError(
                    f"{path}:{number}: the 1-gram {word!r} already stands in "
                    f"line {first}; remove one of them with its n-grams"
                )
        if len(numbers) < count:
            raise ValueError("it ends among its 1-grams")
    special = {*SPECIAL_WORDS, "<UNK>"}
    return [word for word in numbers if word not in special]


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Iterator[bytes]]:
    """Give the lines of a file, and report errors in reading them."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(_KENLM))
            file.seek(0)
            if start == _KENLM:
                raise UserError(
                    f"{path}: is a binary file of KenLM, not the ARPA file"
                    " that it was built from; give that one"
                )
            zipped = start.startswith(_GZIP)
            yield gzip.GzipFile(fileobj=file) if zipped else file
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: its words are not UTF-8 text; convert the file to UTF-8"
        ) from error
    except KeyError as error:
        raise UserError(
            f"{path}: its word {error.args[0].decode(errors='replace')!r} is"
            " neither a unigram of it nor a piece of this tokenizer; copy it"
            " again if it was cut off, or train the language model with this"
            " tokenizer"
        ) from error
    except (ValueError, IndexError, EOFError, *_GZIP_FAULTS) as error:
        raise UserError(
            f"{path}: is not a whole ARPA file ({error}); copy it again, or"
            " train the language model again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error


def _section(n: int) -> tuple[bytes, str, int]:
    """Give the arguments for `_find` to find the section of an order."""
    return (
        f"\\{n}-grams:".encode(),
        f"the section of {n}-grams is missing",
        n - 1,
    )


def _find(lines: Iterator[bytes], head: bytes, fault: str, order: int) -> None:
    """Read up to a line; the file is behind the n-grams of an order."""
    for line in map(bytes.strip, lines):
        if line == head:
            return
        if order and line.startswith(b"\\"):
            break
        if order and line:
            raise ValueError(f"it has more {order}-grams than its head says")
    raise ValueError(fault)


def _read_table(
    lines: Iterator[bytes], n: int, count: int, numbers: Mapping[bytes, int]
) -> NgramTable:
    """Read one section; the file is somewhere before it."""
    _find(lines, *_section(n))
    words = np.empty((count, n), dtype=np.int32)
    log_prob = np.empty(count, dtype=np.float32)
    backoff = np.empty(count, dtype=np.float32)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        chunk = itertools.islice(lines, rows.stop - rows.start)
        # Only at white space of ASCII: U+0085 may stand in a word.
        fields = [line.split() for line in chunk]
        if not all(n < len(field) <= n + 2 for field in fields):
            raise ValueError(f"a line of its {n}-grams has another form")
        ids = [numbers[word] for field in fields for word in field[1 : n + 1]]
        words[rows] = np.array(ids, dtype=np.int32).reshape(-1, n)
        log_prob[rows] = [float(field[0]) for field in fields]
        backoff[rows] = [float((*field, 0)[n + 1]) for field in fields]
    log_prob, backoff = (np.maximum(v, _LOWEST) for v in (log_prob, backoff))
    return NgramTable(words, log_prob, backoff)
