"""Pieces of text and their ids, with CTC's blank as id 0 in all kinds.

    text -> normalised ("none") -> pieces -> ids in 1..size-1

A space is written "▁" inside pieces. sentencepiece is trained so that its
unknown piece has id 0, which an encoder never emits here: characters outside
the tokenizer are an error. Its other ids are then ours without a shift.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import sentencepiece

from nar_asr_lobes.dataio.text.normalization import SPACE, normalize_text
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_write

BLANK = "<blank>"
CHARACTER_FORMAT = "nar-asr-characters-1"

# A saved sentencepiece model ends with its SHA-256, because one that is cut
# between two pieces still loads. To sentencepiece this is an unknown protobuf
# field: number 200, 32 bytes long.
_SEAL = b"\xc2\x0c\x20"
_SEAL_SIZE = len(_SEAL) + 32


class UnknownCharactersError(UserError):
    """Text with characters that no piece of the tokenizer covers.

    Arguments
    ---------
    message : str
        One sentence that names the characters.

    Example
    -------
    >>> CharTokenizer("ab").encode("abc")
    Traceback (most recent call last):
    nar_asr_lobes.dataio.text.pieces.UnknownCharactersError: the text has \
characters outside the tokenizer: 'c' (U+0063); normalise the text, or train \
the tokenizer on text that has them
    """


class Tokenizer(ABC):
    """Base of all tokenizers; use `CharTokenizer` or another kind.

    Arguments
    ---------
    pieces : sequence of str
        The piece of every id; the first is the blank.
    identity : bytes
        Bytes that the fingerprint is taken of.

    Attributes
    ----------
    pieces : list of str
        Index = id; unique, without whitespace; `pieces[0]` is "<blank>".
    size : int
        Number of pieces, blank included: the model's output size.
    fingerprint : str
        SHA-256 in hex; equal for tokenizers that encode alike. Checkpoints,
        language models and bundles store it.

    Example
    -------
    >>> tokenizer = CharTokenizer("ab ")
    >>> tokenizer.decode(tokenizer.encode("ab  ba"))
    'ab ba'
    """

    blank_id = 0

    def __init__(self, pieces: Sequence[str], identity: bytes):
        self.pieces = list(pieces)
        self.size = len(self.pieces)
        self.fingerprint = hashlib.sha256(identity).hexdigest()
        for piece in self.pieces:
            if not piece or piece.split() != [piece]:
                raise UserError(
                    f"the tokenizer's piece {piece!r} is empty or has"
                    " whitespace in it; train the tokenizer again"
                )
        if len(set(self.pieces)) != self.size:
            raise UserError(
                "a piece stands twice in the tokenizer; train it again"
            )

    def encode(self, text: str) -> list[int]:
        """Turn text into ids.

        Arguments
        ---------
        text : str
            Normalised in the style "none" first.

        Returns
        -------
        list of int
            Ids in 1..size-1; empty for empty text.

        Raises
        ------
        UnknownCharactersError
            Names the characters that no piece covers, not the text.
        """
        text = normalize_text(text)
        ids = self._encode(text)
        if 0 in ids:
            found = self.unknown_characters(text)
            shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in found[:10])
            raise UnknownCharactersError(
                f"the text has characters outside the tokenizer: {shown};"
                " normalise the text, or train the tokenizer on text that has"
                " them"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text.

        Arguments
        ---------
        ids : iterable of int
            Ids in 1..size-1, for example a search's result.

        Returns
        -------
        str
            NFC, words separated by single spaces.

        Raises
        ------
        ValueError
            For an id outside 1..size-1, such as the blank.
        """
        ids = list(ids)
        for token in ids:
            if not 0 < token < self.size:
                raise ValueError(
                    f"id {token} is not in 1..{self.size - 1}; remove blanks"
                    " and masks before decoding"
                )
        text = "".join(self.pieces[token] for token in ids)
        return normalize_text(text.replace(SPACE, " "))

    def unknown_characters(self, text: str) -> list[str]:
        """List the characters of a text that no piece covers.

        Arguments
        ---------
        text : str
            Normalised in the style "none" first.

        Returns
        -------
        list of str
            Each once, sorted.
        """
        return sorted(set(self._unknown(normalize_text(text))))

    def save(self, path: str | os.PathLike) -> None:
        """Write the tokenizer into one file, which appears whole or not.

        Arguments
        ---------
        path : str or path
            Read by `load_tokenizer`, whatever its extension.
        """
        with atomic_write(path) as file:
            file.write(self._content())

    @abstractmethod
    def _encode(self, text: str) -> list[int]:
        """Turn normalised text into ids."""

    @abstractmethod
    def _unknown(self, text: str) -> Iterable[str]:
        """List the characters outside."""

    @abstractmethod
    def _content(self) -> bytes:
        """Give the bytes that ``save`` writes."""


class CharTokenizer(Tokenizer):
    """One piece for each character.

    Arguments
    ---------
    characters : iterable of str
        Single characters; a space becomes the piece "▁". Their order does not
        matter: ids follow code points.

    Raises
    ------
    UserError
        For no characters at all, or entries longer than one character.

    Example
    -------
    >>> tokenizer = CharTokenizer("ba ")
    >>> tokenizer.pieces, tokenizer.encode("ab a")
    (['<blank>', '▁', 'a', 'b'], [2, 3, 1, 2])
    """

    def __init__(self, characters: Iterable[str]):
        known = sorted(set(characters))
        if not known:
            raise UserError(
                "a character tokenizer needs at least one character; give it"
                " text that is not empty"
            )
        if any(len(c) != 1 for c in known) or SPACE in known:
            raise UserError(
                "a character tokenizer takes single characters other than"
                f" {SPACE!r}; train it on normalised text"
            )
        self._ids = {c: i for i, c in enumerate(known, 1)}
        pieces = [BLANK, *(c.replace(" ", SPACE) for c in known)]
        identity = json.dumps(["char", pieces]).encode()
        super().__init__(pieces, identity)

    def _encode(self, text: str) -> list[int]:
        return [self._ids.get(c, 0) for c in text]

    def _unknown(self, text: str) -> Iterable[str]:
        return (c for c in text if c not in self._ids)

    def _content(self) -> bytes:
        record = {
            "format": CHARACTER_FORMAT,
            "characters": list(self._ids),
            "fingerprint": self.fingerprint,
        }
        return json.dumps(record, ensure_ascii=False, indent=0).encode()


class SentencePieceTokenizer(Tokenizer):
    """Subword pieces of a sentencepiece model.

    Arguments
    ---------
    model : bytes
        Content of a .model file trained with unk_id=0 and without the other
        special pieces, as `train_tokenizer` does.

    Raises
    ------
    UserError
        For damaged bytes or a model with other special pieces.

    Example
    -------
    >>> from nar_asr_lobes.dataio.text.tokenizer import train_tokenizer
    >>> tokenizer = train_tokenizer(["ab ba", "aab"], "unigram", 6)
    >>> tokenizer.decode(tokenizer.encode("aba ab"))
    'aba ab'
    """

    def __init__(self, model: bytes):
        try:
            # Empty bytes would leave it without a model, and no error.
            self._model = sentencepiece.SentencePieceProcessor(
                model_proto=model or b"\0"
            )
        except RuntimeError as error:
            raise UserError(
                "this sentencepiece model is damaged; copy it again or train"
                " the tokenizer again"
            ) from error
        size = self._model.get_piece_size()
        special = (self._model.is_control, self._model.is_byte)
        if self._model.unk_id() != 0 or any(
            test(i) for i in range(1, size) for test in special
        ):
            raise UserError(
                "this sentencepiece model has special pieces besides the"
                " unknown one at id 0; train it with unk_id=0, bos_id=-1,"
                " eos_id=-1, pad_id=-1 and without byte_fallback"
            )
        self._bytes = model
        pieces = (self._model.id_to_piece(i) for i in range(1, size))
        super().__init__([BLANK, *pieces], model)

    @classmethod
    def from_file_content(cls, content: bytes) -> SentencePieceTokenizer:
        """Read a file of `save`.

        Arguments
        ---------
        content : bytes
            The model and its checksum.

        Returns
        -------
        SentencePieceTokenizer

        Raises
        ------
        UserError
            When the checksum is missing or does not match.
        """
        model, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
        if seal != _SEAL + hashlib.sha256(model).digest():
            raise UserError(
                "this tokenizer file is damaged or was not written by this"
                " package; copy it again, or pass a model of your own through"
                " SentencePieceTokenizer(model).save(path)"
            )
        return cls(model)

    def __reduce__(self) -> tuple:
        """Pickle the model's bytes only, for data-loader workers."""
        return SentencePieceTokenizer, (self._bytes,)

    def _encode(self, text: str) -> list[int]:
        return self._model.encode(text)

    def _unknown(self, text: str) -> Iterable[str]:
        for piece in self._model.encode(text, return_type="proto").pieces:
            if piece.id == 0:
                yield from piece.surface

    def _content(self) -> bytes:
        return self._bytes + _SEAL + hashlib.sha256(self._bytes).digest()
