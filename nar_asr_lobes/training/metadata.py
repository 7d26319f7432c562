"""Metadata of a run, which every checkpoint holds and a resume compares.

configuration, objective -> run metadata
split -> hash of each utterance -> digest -> data.json -> run metadata

Only the main process looks at the data; the others read the digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from pathlib import Path

from nar_asr_lobes import __version__
from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.masking import SpecAugment
from nar_asr_lobes.objectives.base import Objective
from nar_asr_lobes.storage import write_text
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import LmRunConfig, RunConfig

_DIGESTS = "data.json"
_THREADS = 16  # that ask for sizes; a network's answers take their time
_PART = 1000  # files; a task for each of them would cost more than the asking


def run_metadata(config: RunConfig | LmRunConfig, sizes: dict) -> dict:
    """Collect the metadata of any run."""
    metadata = {"task": config.task, "model": sizes}
    metadata["data"] = _read_digests(config.output_folder)
    for key in ("seed", "global_batch"):  # they decide on the data's order
        metadata[key] = getattr(config, key)
    return metadata


def speech_metadata(
    config: RunConfig, sizes: dict, objective: Objective
) -> dict:
    """Collect the metadata of a pre-training or a fine-tuning."""
    metadata = run_metadata(config, sizes)
    for key in ("bucket_steps", "sorted_epochs", "weights"):
        metadata[key] = getattr(config.data, key)
    layers = config.freeze_layers
    metadata["freeze"] = f"{layers} layers" if layers else config.freeze
    if config.task == "pretrain":
        metadata["targets"] = objective.targets
    metadata["objective"] = _plain_values(objective)
    metadata["init_from"] = None
    if config.init_from is not None:
        metadata["init_from"] = str(Path(config.init_from).resolve())
        metadata["reinit_layers"] = config.reinit_layers
    return metadata


@cache
def code_version() -> str:
    """Give the package's version, with the commit where git knows it."""
    root = Path(__file__).parents[2]
    command = "git describe --always --dirty --abbrev=12 --exclude=*".split()
    if not (root / ".git").exists():  # installed, perhaps in another's tree
        return __version__
    try:
        found = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} {found.stdout}".strip()


def _plain_values(part: object) -> dict:
    """Give those of an object's attributes that JSON can hold."""
    found = {}
    for name, value in vars(part).items():
        if isinstance(value, SpecAugment):
            found[name] = _plain_values(value)
        elif value is None or isinstance(value, int | float | str | dict):
            found[name] = value
    return found


def hash_utterances(utterances: Sequence[Utterance]) -> str:
    """Give a line for each utterance: a hash and the id, in order.

    The hash is over id, duration, text and the size of the audio file, and so
    stays the same when the corpus is copied to another place.
    """
    paths = [row.audio for row in utterances]
    parts = [paths[i : i + _PART] for i in range(0, len(paths), _PART)]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = chain.from_iterable(pool.map(_sizes, parts))
    lines = []
    for row, size in zip(utterances, sizes, strict=True):
        content = repr(
            (row.id, row.start, row.duration, row.text, size)
        ).encode()
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        lines.append(f"{digest} {row.id}\n")
    return "".join(lines)


def _sizes(paths: list[str]) -> list[int | None]:
    """Give the size of each file; one that is gone was found by the checks."""
    return [os.path.getsize(x) if os.path.exists(x) else None for x in paths]


def keep_hashes(output: Path, split: str, hashes: str) -> str:
    """Write a split's hashes, unless its run was started with others."""
    path = output / "checked" / f"{split}.hashes"
    content = hashes.encode(errors="backslashreplace")
    digest = hashlib.sha256(content).hexdigest()
    refuse_changes(output, split, digest, lambda: _difference(path, hashes))
    write_text(path, hashes)
    return digest


def _difference(path: Path, hashes: str) -> str:
    """Count the differences from the file."""
    old, new = (
        dict(line.split(" ", 1)[::-1] for line in text.split("\n") if line)
        for text in (path.read_text(encoding="utf-8"), hashes)
    )
    common = old.keys() & new.keys()
    return _describe_difference(
        added=len(new) - len(common),
        removed=len(old) - len(common),
        changed=sum(old[name] != new[name] for name in common),
    )


def _describe_difference(**counts: int) -> str:
    """Say how many items changed; where none did, it is their order."""
    changes = (f"{n} {verb}" for verb, n in counts.items() if n)
    return ", ".join(changes) or "in another order"


def sentence_difference(old: Sequence[bytes], new: Sequence[bytes]) -> str:
    """Count the sentences that only one of two splits has."""
    before, now = Counter(old), Counter(new)
    return _describe_difference(
        added=(now - before).total(), removed=(before - now).total()
    )


def refuse_changes(
    output: Path, split: str, digest: str, difference: Callable[[], str]
) -> None:
    """Refuse to resume with other data than the run was started with."""
    metadata = CheckpointFolder(output / "checkpoints").metadata() or {}
    if metadata.get("data", {}).get(split, digest) == digest:
        return
    try:
        change = f" ({difference()})"
    except (OSError, ValueError):
        change = ""
    raise UserError(
        f"{output}: split {split!r} is not what this run was started with"
        f"{change}; bring the old data back or give a new output_folder"
    )


def write_digests(output: Path, digests: dict[str, str]) -> None:
    """Write the digests of the splits, for the metadata of checkpoints."""
    write_text(output / _DIGESTS, json.dumps(digests, indent=1))


def _read_digests(output_folder: str) -> dict[str, str]:
    """Read the file of ``write_digests``."""
    path = Path(output_folder) / _DIGESTS
    return json.loads(path.read_text(encoding="utf-8"))
