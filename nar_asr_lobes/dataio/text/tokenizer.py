"""Tokenizers from transcripts and from files.

    transcripts -> train_tokenizer -> Tokenizer -> file -> load_tokenizer

The kinds themselves are in `pieces`; this is where the rest of the code gets
them from.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from nar_asr_lobes.dataio.text.normalization import normalize_text
from nar_asr_lobes.dataio.text.pieces import (
    CHARACTER_FORMAT,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    UnknownCharactersError,
)
from nar_asr_lobes.errors import UserError

__all__ = [
    "CharTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "UnknownCharactersError",
    "load_tokenizer",
    "train_tokenizer",
]

_KINDS = ("char", "unigram", "bpe")

_LONGEST_LINE = 2**20  # bytes; sentencepiece skips longer lines silently


def train_tokenizer(
    texts: Iterable[str], kind: str = "char", size: int | None = None
) -> Tokenizer:
    """Make a tokenizer from transcripts; the same texts give the same one.

    Arguments
    ---------
    texts : iterable of str
        Normalised transcripts of the training split.
    kind : str
        "char", "unigram" or "bpe"; the last two are sentencepiece's.
    size : int, optional
        Number of pieces with the blank. Required for "unigram" and "bpe"; for
        "char" the largest number allowed.

    Returns
    -------
    Tokenizer

    Raises
    ------
    UserError
        Unknown kind, no text, or a size the text does not allow; the message
        then says which size it does allow.

    Example
    -------
    >>> train_tokenizer(["ab", "b c"]).pieces
    ['<blank>', '▁', 'a', 'b', 'c']
    """
    if kind not in _KINDS:
        raise UserError(
            f"tokenizer kind {kind!r} is unknown; use one of "
            f"{', '.join(_KINDS)}"
        )
    lines = [line for line in map(normalize_text, texts) if line]
    if not lines:
        raise UserError(
            "there is no text to train a tokenizer on; check that the training"
            " split has transcripts"
        )
    if kind == "char":
        return _train_characters(lines, size)
    return _train_sentencepiece(lines, kind, size)


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Read a tokenizer file of any kind; its content decides which.

    Arguments
    ---------
    path : str or path
        Written by `Tokenizer.save`.

    Returns
    -------
    Tokenizer

    Raises
    ------
    UserError
        For a missing or damaged file, naming it.

    Example
    -------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> path = folder + "/tokenizer.json"
    >>> CharTokenizer("abc").save(path)
    >>> load_tokenizer(path).size
    4
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this tokenizer ({error.strerror}); check the"
            " path"
        ) from error
    try:
        if content[:1] == b"{":
            return _parse_characters(content)
        return SentencePieceTokenizer.from_file_content(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _train_characters(lines: list[str], size: int | None) -> Tokenizer:
    tokenizer = CharTokenizer({c for line in lines for c in line})
    if size is not None and tokenizer.size > size:
        raise UserError(
            f"the text has {tokenizer.size - 1} different characters, more than"
            f" a tokenizer of size {size} holds; normalise the text or set the"
            f" size to at least {tokenizer.size}"
        )
    return tokenizer


def _train_sentencepiece(
    lines: list[str], kind: str, size: int | None
) -> Tokenizer:
    if size is None or size < 2:
        raise UserError(
            f"tokenizer kind {kind!r} needs a size of at least 2, not {size};"
            " set it, for example to 500"
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            character_coverage=1.0,
            normalization_rule_name="identity",  # texts are normalised
            max_sentence_length=_LONGEST_LINE,
            num_threads=1,  # more give other pieces from run to run
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _size_error(str(error), kind, size) from error
    return SentencePieceTokenizer(model.getvalue())


def _size_error(message: str, kind: str, size: int) -> UserError:
    """Turn sentencepiece's words about the size into ours."""
    start = f"a {kind} tokenizer of size {size} cannot be trained on this text"
    largest = re.search(r"too high .* value <= (\d+)", message)
    if largest:
        return UserError(
            f"{start}, which is too small for it; use more text or set the"
            f" size to at most {largest[1]}"
        )
    smallest = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if smallest:
        return UserError(
            f"{start}, which has too many different characters; normalise the"
            f" text or set the size to at least {smallest[1]}"
        )
    return UserError(f"{start} ({message.strip()}); check the text")


def _parse_characters(content: bytes) -> CharTokenizer:
    try:
        record = json.loads(content)
        if record["format"] != CHARACTER_FORMAT:
            raise ValueError("unknown format")
        tokenizer = CharTokenizer(record["characters"])
        if tokenizer.fingerprint != record["fingerprint"]:
            raise ValueError("the fingerprint does not match")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "this tokenizer file is damaged; copy it again or train the"
            " tokenizer again"
        ) from error
    return tokenizer
