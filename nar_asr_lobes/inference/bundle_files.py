"""A folder that appears whole or not at all, and notices damage.

files -> flushed -> SHA-256 of each in bundle.json -> renamed into place
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.storage import atomic_folder, sha256

FORMAT = "nar-asr-bundle"
INDEX = "bundle.json"
REMEDY = "copy or download the bundle again"


@contextmanager
def written_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``folder`` at the end.

    Arguments
    ---------
    folder : str or path
        Where it shall be; an older one with an index is replaced.

    Yields
    ------
    Path
        The folder to write files into. After an error it is removed, and the
        older one stays.

    Raises
    ------
    UserError
        If ``folder`` holds something else, or cannot be written.

    Example
    -------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "bundle"
    >>> with written_folder(target) as temporary:
    ...     write_text(temporary / "README.md", "hello")
    >>> verified_files(target)
    {'README.md'}
    """
    folder = Path(os.path.abspath(folder))
    _refuse_other_folder(folder)
    with atomic_folder(folder) as temporary:
        yield temporary
        _write_index(temporary)


def verified_files(folder: Path) -> set[str]:
    """Compare all files in the index with their SHA-256.

    Arguments
    ---------
    folder : Path
        Written by ``written_folder``.

    Returns
    -------
    set of str
        Their names. Files that the index does not list are ignored.

    Raises
    ------
    UserError
        If there is no index, or a file is missing or damaged.
    """
    if not os.path.isfile(folder / INDEX):
        raise UserError(
            f"{folder}: is not a bundle ({INDEX} is missing); name the folder "
            "that a fine-tuning wrote"
        )
    hashes = _read_index(folder / INDEX)
    for name, digest in hashes.items():
        fault = _fault(folder, name, digest)
        if fault:
            raise UserError(f"{folder / name}: {fault}; {REMEDY}")
    return set(hashes)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8 with the same line ends on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def _refuse_other_folder(folder: Path) -> None:
    if folder.is_dir():
        foreign = any(folder.iterdir()) and not (folder / INDEX).is_file()
    else:
        foreign = folder.exists()
    if foreign:
        raise UserError(
            f"{folder}: exists and is not a bundle, so it is not replaced; "
            "name another folder"
        )


def _write_index(folder: Path) -> None:
    hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    index = {"format": FORMAT, "sha256": hashes}
    write_text(folder / INDEX, json.dumps(index, indent=1) + "\n")


def _fault(folder: Path, name: str, digest: str) -> str | None:
    path = folder / name
    # A path that leads elsewhere is no file of this folder.
    if Path(name).name != name or not path.is_file():
        return "is missing"
    try:
        if sha256(path) != digest:
            return f"is damaged (its SHA-256 is not the one in {INDEX})"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _read_index(path: Path) -> Mapping[str, str]:
    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"))
        if index["format"] != FORMAT:
            raise ValueError("of another format")
        return dict(index["sha256"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise UserError(f"{path}: is damaged; {REMEDY}") from error
