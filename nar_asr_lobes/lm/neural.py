"""Scores token sequences with a Transformer language model.

    lm.safetensors, lm.safetensors.json -> NeuralLM -> whole sentences, batched

The JSON holds the sizes, the tokenizer's fingerprint, the weights' SHA-256 and
a seal on all that; nothing is parsed as weights before it matches.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm
from nar_asr_lobes.storage import atomic_write

WEIGHTS = "lm.safetensors"  # in the folder of a training

_FORMAT = "nar-asr-neural-lm-1"
_REMEDY = "copy both files again or train the model again"
_BATCH_TOKENS = 8192  # padded tokens of a batch of sentences


class NeuralLM:
    """A Transformer language model over a tokenizer's tokens; see `load`.

    It re-scores N-best lists; the beam search knows n-grams only.

    Arguments
    ---------
    model : TransformerLm
        Put into evaluation mode; stays on its device.

    Example
    -------
    >>> lm = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), vocab_size=4))
    >>> len(lm.sentences([(1, 3), (), (2, 2, 2)]))
    3
    """

    def __init__(self, model: TransformerLm):
        self.model = model.eval()

    @classmethod
    def load(cls, path: str | os.PathLike, tokenizer: Tokenizer) -> NeuralLM:
        """Read a model that `save` wrote, onto the CPU.

        Arguments
        ---------
        path : str or path
            The weights; `path + ".json"` is next to them.
        tokenizer : Tokenizer
            The one it was trained with.

        Returns
        -------
        NeuralLM

        Raises
        ------
        UserError
            A file is missing or damaged, or the model belongs to another
            tokenizer.
        """
        if not os.path.isfile(path):
            raise UserError(
                f"{path}: there is no neural language model; check the path"
            )
        record = _read_record(path)
        if record["tokenizer"] != tokenizer.fingerprint:
            raise UserError(
                f"{path}: this neural language model was made with another"
                f" tokenizer (fingerprint {record['tokenizer'][:12]}, not"
                f" {tokenizer.fingerprint[:12]}); train it again with this one"
            )
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            raise UserError(
                f"{path}: this neural language model is damaged or was changed,"
                f" its SHA-256 is not the one in {_record_path(path).name};"
                f" {_REMEDY}"
            )
        sizes = LmSizes.from_dict(record["sizes"])
        model = TransformerLm(sizes, tokenizer.size)
        model.load_state_dict(safetensors.torch.load(content))
        return cls(model)

    def save(self, path: str | os.PathLike, tokenizer: Tokenizer) -> None:
        """Write the weights and, beside them, the JSON that ``load`` checks."""
        path = Path(path)
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.state_dict().items()
        }
        content = safetensors.torch.save(weights)
        record = {
            "format": _FORMAT,
            "sizes": self.model.sizes.to_dict(),
            "tokenizer": tokenizer.fingerprint,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        record["seal"] = _seal(record)
        sidecar = json.dumps(record, indent=2) + "\n"
        with atomic_write(path) as file:
            file.write(content)
            file.flush()
            # An older model's JSON must not stand beside the new weights.
            _record_path(path).unlink(missing_ok=True)
        with atomic_write(_record_path(path)) as file:
            file.write(sidecar.encode())

    def to(self, device: torch.device | str) -> NeuralLM:
        """Move the model to a device; return itself."""
        self.model.to(device)
        return self

    @torch.inference_mode()
    def sentences(self, sentences: Sequence[Sequence[int]]) -> list[float]:
        """Score whole sentences.

        Arguments
        ---------
        sentences : sequence of sequences of int
            Ids in 1..size-1; a sentence may be empty.

        Returns
        -------
        list of float
            Natural log-probability of each sentence and its end.

        Raises
        ------
        ValueError
            For an id outside 1..size-1.
        """
        for token in {token for sentence in sentences for token in sentence}:
            if not 0 < token < self.model.vocab_size:
                raise ValueError(
                    f"id {token} is not in 1..{self.model.vocab_size - 1}; "
                    "remove blanks and masks before scoring"
                )
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        scores = [0.0] * len(sentences)
        while order:  # from the longest on, so that it sets the padding
            room = _BATCH_TOKENS // (len(sentences[order[-1]]) + 1)
            rows = order[-max(1, room) :]
            del order[-len(rows) :]
            found = self._score_batch([sentences[i] for i in rows])
            for row, score in zip(rows, found, strict=True):
                scores[row] = score
        return scores

    def _score_batch(self, sentences: list[Sequence[int]]) -> list[float]:
        lengths = torch.tensor([len(sentence) for sentence in sentences])
        tokens = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in sentences],
            batch_first=True,
        )
        scores = self.model(tokens.to(self._device), lengths.to(self._device))
        return scores.double().sum(dim=1).tolist()

    @property
    def _device(self) -> torch.device:
        return self.model.embedding.weight.device


def _seal(record: dict) -> str:
    """Hash the JSON's content, but for the seal itself."""
    said = {key: value for key, value in record.items() if key != "seal"}
    text = json.dumps(said, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _record_path(path: str | os.PathLike) -> Path:
    return Path(f"{os.fspath(path)}.json")


def _read(path: str | os.PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this file ({error.strerror}); check its"
            " permissions"
        ) from error


def _read_record(path: str | os.PathLike) -> dict:
    where = _record_path(path)
    if not where.exists():
        raise UserError(
            f"{where}: the file that belongs to {Path(path).name} is missing;"
            " copy it too or train the model again"
        )
    try:
        record = json.loads(_read(where))
        if record["format"] != _FORMAT or record["seal"] != _seal(record):
            raise ValueError("changed")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: this file is damaged; {_REMEDY}") from error
    return record
