"""The file beside a language model that says what it is.

    lm.arpa, lm.arpa.json

KenLM can end the whole process on a damaged file, so a model is opened only
after its content was compared with the hash in the sidecar. Together the two
files can be copied anywhere and still prove themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from nar_asr_lobes.dataio.tokenizer import Tokenizer
from nar_asr_lobes.errors import UserError

_FORMAT = "nar-asr-ngram-1"


@dataclass(frozen=True)
class Sidecar:
    """What is known of a language model.

    Arguments
    ---------
    tokenizer : str
        Fingerprint of the tokenizer whose pieces are its words.
    order : int
        Longest n-gram it was trained for.
    sha256 : str
        Of the model file, in hex.
    lines_used : int
        Lines of text it was estimated on.
    lines_left_out : int
        Lines that were empty or had characters outside the tokenizer.
    estimator : str
        "lmplz" or "numpy".

    Example
    -------
    >>> Sidecar("ab", 3, "cd", 10, 0, "numpy").order
    3
    """

    tokenizer: str
    order: int
    sha256: str
    lines_used: int
    lines_left_out: int
    estimator: str


def sidecar_path(path: str | os.PathLike) -> Path:
    """Return where the sidecar of the model at `path` is.

    Example
    -------
    >>> sidecar_path("lm.arpa").name
    'lm.arpa.json'
    """
    return Path(f"{os.fspath(path)}.json")


def write_sidecar(path: str | os.PathLike, sidecar: Sidecar) -> None:
    """Write the sidecar of the model at `path`; it appears whole or not."""
    target = sidecar_path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    record = {"format": _FORMAT, **dataclasses.asdict(sidecar)}
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, target)


def check_sidecar(path: str | os.PathLike, tokenizer: Tokenizer) -> Sidecar:
    """Make sure that a model file is whole and made with this tokenizer.

    Arguments
    ---------
    path : str or path
        The model; its sidecar is next to it.
    tokenizer : Tokenizer

    Returns
    -------
    Sidecar

    Raises
    ------
    UserError
        For a missing model or sidecar, a damaged one, or another tokenizer.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no language model; check the path")
    sidecar = _read_sidecar(path)
    if sidecar.tokenizer != tokenizer.fingerprint:
        raise UserError(
            f"{path}: this language model was made with another tokenizer"
            f" (fingerprint {sidecar.tokenizer[:12]}, not"
            f" {tokenizer.fingerprint[:12]}); train it again with this one"
        )
    if hash_file(path) != sidecar.sha256:
        raise UserError(
            f"{path}: this language model is damaged or was changed, its"
            f" SHA-256 is not the one in {sidecar_path(path).name}; copy both"
            " files again or train it again"
        )
    return sidecar


def hash_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hex.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this language model ({error.strerror});"
            " check the path"
        ) from error
    return digest.hexdigest()


def _read_sidecar(path: str | os.PathLike) -> Sidecar:
    where = sidecar_path(path)
    try:
        record = json.loads(where.read_bytes())
        if record.pop("format") != _FORMAT:
            raise ValueError("unknown format")
        return Sidecar(**record)
    except FileNotFoundError as error:
        raise UserError(
            f"{where}: the file that belongs to language model"
            f" {Path(path).name} is missing; copy it too or train the model"
            " again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{where}: cannot read this file ({error.strerror}); check its"
            " permissions"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: this file is damaged; copy it and its language model"
            " again or train the model again"
        ) from error
