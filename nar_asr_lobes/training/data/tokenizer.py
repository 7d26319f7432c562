"""The tokenizer of a run: trained on its transcripts, or another run's.

transcripts, or tokenizer.path -> OUTPUT/tokenizer.json or tokenizer.model
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nar_asr_lobes.dataio.text.tokenizer import (
    CharTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import RunConfig


def make_tokenizer(config: RunConfig, texts: Iterable[str]) -> None:
    """Train the tokenizer, unless the run has a checkpoint made with one.

    ``texts`` are read where they are needed.
    """
    kind, size = config.tokenizer.kind, config.tokenizer.size
    path = _tokenizer_path(config)
    checkpoints = CheckpointFolder(Path(config.output_folder) / "checkpoints")
    if path is not None and checkpoints.newest() is None:
        path.unlink()  # of a run that was given up, on other texts perhaps
        path = None
    if path is None:
        tokenizer = _new_tokenizer(config, list(texts))
        characters = isinstance(tokenizer, CharTokenizer)
        name = "tokenizer.json" if characters else "tokenizer.model"
        tokenizer.save(Path(config.output_folder) / name)
    elif config.tokenizer.path is not None:
        pass  # copied when the run was started
    elif (path.suffix == ".json") != (kind == "char"):
        raise UserError(
            f"{path}: is not of kind {kind}, which tokenizer.kind asks for; "
            "go on with the kind it has or give a new output_folder"
        )
    elif kind != "char" and load_tokenizer(path).size != size:
        raise UserError(
            f"{path}: has {load_tokenizer(path).size} pieces, but "
            f"tokenizer.size asks for {size}; go on with the size it has or "
            "give a new output_folder"
        )


def _new_tokenizer(config: RunConfig, texts: Sequence[str]) -> Tokenizer:
    """Train a tokenizer, or take the one that the YAML names."""
    named = config.tokenizer.path
    if named is None:
        return train_tokenizer(
            texts, config.tokenizer.kind, config.tokenizer.size
        )
    tokenizer = find_tokenizer(named)
    lacking = tokenizer.unknown_characters("".join(texts))
    if lacking:
        raise UserError(
            f"{named}: this tokenizer lacks {len(lacking)} characters of the "
            f"split {config.data.train!r} "
            f"({' '.join(f'U+{ord(c):04X}' for c in lacking[:10])}); set "
            "tokenizer.path to null for a new tokenizer, or normalise the text"
        )
    return tokenizer


def find_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Load a tokenizer by its file, or the folder or bundle that holds it."""
    path = Path(path)
    if path.is_dir():
        names = ("tokenizer", "tokenizer.json", "tokenizer.model")
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise UserError(
                f"{path}: holds no tokenizer; name a fine-tuning's output "
                "folder, its bundle or its tokenizer file"
            )
        path = found[0]
    return load_tokenizer(path)


def _tokenizer_path(config: RunConfig) -> Path | None:
    """Find the run's tokenizer file, if it is there."""
    output = Path(config.output_folder)
    for name in ("tokenizer.json", "tokenizer.model"):
        if (output / name).is_file():
            return output / name
    return None


def run_tokenizer(config: RunConfig) -> Tokenizer:
    """Load the run's tokenizer."""
    path = _tokenizer_path(config)
    if path is None:
        raise UserError(
            f"{config.output_folder}: holds no tokenizer; start the run again"
        )
    return load_tokenizer(path)
